"""Single keys of a terminal, read without Enter."""

from __future__ import annotations

import contextlib
import errno
import os
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
    """Yield a function that waits for a key; without a terminal, and in its background, it returns none.
    Ctrl-C stays an interrupt."""
    if sys.stdin is None or not sys.stdin.isatty() or sys.platform == "win32":
        yield _sleep
        return
    import termios
    import tty

    descriptor = sys.stdin.fileno()

    def owns_keys() -> bool:
        # The system stops a program that sets or reads its terminal from the background.
        try:
            return os.tcgetpgrp(descriptor) == os.getpgrp()
        except OSError as error:
            # Another session's terminal (`su -c`, `setsid`) stops no program. Other errors: it is gone.
            return error.errno == errno.ENOTTY

    def wait(seconds: float) -> str:
        if not owns_keys():
            return _sleep(seconds)
        if not select.select([descriptor], [], [], seconds)[0]:
            return ""
        # Not through `sys.stdin`, whose buffer `select` does not see. Keys are ASCII.
        with contextlib.suppress(OSError):  # the terminal is gone
            if key := os.read(descriptor, 1):
                return key.decode("latin-1")
        # Reading again would return at once for ever.
        return _sleep(seconds)

    if not owns_keys():
        yield wait
        return
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield wait
    finally:
        if owns_keys():
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
