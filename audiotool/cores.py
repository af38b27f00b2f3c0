"""How many processor cores this process may use."""

from __future__ import annotations

import os


def core_count() -> int:
    """Cores, 1 or more: those that a container or `taskset` leaves us, where the system says so."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
