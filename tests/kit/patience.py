"""Waiting until something is so, however slow the machine; minutes pass only where a program hangs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

PATIENCE = 600.0
"""Seconds after which a test no longer waits, so that it fails and does not hang."""

LONGEST_PAUSE = 0.05
"""Greatest time between two looks in seconds."""


def wait_until(condition: Callable[[], object]) -> None:
    """Return as soon as a condition holds.

    Raises:
        TimeoutError: it does not come to hold.
    """
    end, pause = time.monotonic() + PATIENCE, LONGEST_PAUSE / 100
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"it does not come to hold within {PATIENCE:g} s")
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def is_gone(group: int) -> bool:
    """Whether a group of processes has none left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False
