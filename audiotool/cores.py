"""The number of processor cores that this process may use."""

from __future__ import annotations

import os


def core_count() -> int:
    """Return the number of cores, at least 1, that a container or `taskset` allows, if the system reports
    it."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
