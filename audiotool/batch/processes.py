"""Start methods of worker processes.

On Linux they are forked from one small process (Python's fork server), which has imported what all of them
need and has done nothing else. It imports while the batch is planned. Elsewhere each worker is a new Python.
"""

from __future__ import annotations

import sys
from typing import Any

from audiotool.cores import core_count
from audiotool.signals import held_back
from audiotool.sockets import place_sockets

PRELOADED = [
    "audiotool.batch.pool",
    "audiotool.engines.onnx",
    "audiotool.pipeline",
    "audiotool.tasks.inference",
    "audiotool.tasks.load",
]
"""Modules that the fork server imports. None of them may start threads, because threads are not forked."""


def prepare(jobs: int | None) -> None:
    """Start the fork server, so that it imports while the batch is planned; nothing for a single worker.

    Args:
        jobs: number of workers, as for `run`.
    """
    if jobs is not None and (jobs or core_count()) > 1:
        context()


def context() -> Any:
    """Return the `multiprocessing` context of workers. On Linux the fork server runs afterwards."""
    from multiprocessing import get_context

    if sys.platform != "linux":
        return get_context("spawn")  # macOS's libraries do not survive a fork; Windows cannot fork
    from multiprocessing import forkserver

    forked = get_context("forkserver")
    forked.set_forkserver_preload(PRELOADED)
    place_sockets()
    with held_back():
        forkserver.ensure_running()
    return forked
