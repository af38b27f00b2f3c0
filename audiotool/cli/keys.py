"""Single keys of a terminal, read without Enter."""

from __future__ import annotations

import contextlib
import select
import sys
import time
from collections.abc import Callable, Iterator

Wait = Callable[[float], str]
"""Waits for a number of seconds; returns the key that was pressed meanwhile, "" for none."""


def _sleep(seconds: float) -> str:
    time.sleep(seconds)
    return ""


@contextlib.contextmanager
def keys() -> Iterator[Wait]:
    """Yield a function that waits for a key; without a terminal it returns none. Ctrl-C stays an
    interrupt."""
    if sys.stdin is None or not sys.stdin.isatty() or sys.platform == "win32":
        yield _sleep
        return
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)

    def wait(seconds: float) -> str:
        if not select.select([descriptor], [], [], seconds)[0]:
            return ""
        key = sys.stdin.read(1)
        if not key:
            # The terminal is gone. Reading from it would return at once for ever.
            time.sleep(seconds)
        return key

    try:
        tty.setcbreak(descriptor)
        yield wait
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
