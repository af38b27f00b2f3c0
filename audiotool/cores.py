"""The number of processor cores and worker processes that this process may use."""

from __future__ import annotations

import logging
import os
import sys

log = logging.getLogger(__name__)

FILES_OF_A_WORKER = 3
"""Number of files that stay open for a worker process: its pipe, and what tells of its end."""

SPARE_FILES = 12
"""Number of files that are left for others than workers: pipes of a whole pool, those of a worker while it
starts, and reports."""


MOST_ON_WINDOWS = 60
"""Number of worker processes that one process can wait for on Windows, beside what wakes it itself."""


def core_count() -> int:
    """Return the number of cores, at least 1, that a container or `taskset` allows, if the system reports
    it."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def affordable_workers(count: int) -> int:
    """Return how many of `count` worker processes this process can have open files for, and on Windows wait
    for; perhaps 0.

    Where some of them can be had and others cannot, a warning says so.
    """
    if sys.platform == "win32" and count > MOST_ON_WINDOWS:
        log.warning("Windows has at most %d worker processes: going on with as many", MOST_ON_WINDOWS)
        count = MOST_ON_WINDOWS
    openable = _openable(count * FILES_OF_A_WORKER + SPARE_FILES)
    affordable = max(0, openable - SPARE_FILES) // FILES_OF_A_WORKER
    if 0 < affordable < count:
        log.warning(
            "%d worker processes need more open files than `ulimit -n` allows: going on with %d",
            count,
            affordable,
        )
    return affordable


def _openable(count: int) -> int:
    """Return how many more files this process may open, up to `count`."""
    opened: list[int] = []
    try:
        while len(opened) < count:
            opened.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return len(opened)
    finally:
        for file in opened:
            os.close(file)
    return len(opened)
