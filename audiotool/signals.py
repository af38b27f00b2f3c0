"""Signals that end a program: Ctrl-C (SIGINT), SIGTERM, a closed terminal or a lost connection (SIGHUP); on
Windows Ctrl-Break and a closed console (SIGBREAK)."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

Handler = Callable[[int, FrameType | None], None]

HANG_UP: tuple[signal.Signals, ...] = ()
"""SIGHUP; on Windows SIGBREAK."""

# mypy knows an `if` with the platform, and no conditional expression.
if sys.platform != "win32":
    HANG_UP = (signal.SIGHUP,)
else:
    HANG_UP = (signal.SIGBREAK,)

REQUESTS = (signal.SIGINT, signal.SIGTERM, *HANG_UP)
"""All requests to end."""

TOGETHER_SECONDS = 1.0
"""Greatest time between two requests that are one."""

RAISED = (KeyboardInterrupt, SystemExit)
"""What they raise, see `unwind_on_request`."""


class EndRequest(SystemExit):
    """A request to end. Another `SystemExit` is of code that ends the interpreter by itself."""


def unwind_on_request() -> None:
    """Let SIGTERM and `HANG_UP` end this program as Ctrl-C does, which removes unfinished files.

    Requests that follow each other within `TOGETHER_SECONDS` are one: of a launcher that passes on what the
    terminal has sent already, or of a key that is held. A later one interrupts the clean-up.

    Call it in the main thread. Signals that the parent has set to be ignored (nohup) stay ignored.
    """
    last = -math.inf

    def leave(number: int, frame: FrameType | None) -> None:
        nonlocal last
        before, last = last, time.monotonic()
        if last - before < TOGETHER_SECONDS:
            return
        # A closing terminal sends SIGHUP more than once, which must not interrupt the clean-up.
        _ignore(*HANG_UP)
        raise KeyboardInterrupt if number == signal.SIGINT else EndRequest(128 + number)

    _handle(leave, *REQUESTS)


def finish() -> None:
    """Ignore requests to end from now on, because all work is done."""
    _ignore(signal.SIGINT, *HANG_UP)


@contextlib.contextmanager
def calling_on_request(handler: Handler) -> Iterator[None]:
    """Call a function at the first request to end, in place of ending; a second one ends the program at once.

    After an exception there is nothing left to stop: requests end the program as before the block. Enter it
    in the main thread. Signals that the parent has set to be ignored (nohup) stay ignored.
    """

    def first(number: int, frame: FrameType | None) -> None:
        _ignore(*HANG_UP)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        handler(number, frame)

    before = {number: signal.getsignal(number) for number in REQUESTS}
    _handle(first, *REQUESTS)
    try:
        yield
    except BaseException:
        for number, earlier in before.items():
            if signal.getsignal(number) is first:
                signal.signal(number, earlier)
        raise


@contextlib.contextmanager
def calling_on_hang_up(handler: Handler) -> Iterator[None]:
    """Call a function at each `HANG_UP`, in place of ending.

    For event loops: an exception of a signal's handler ends whichever callback is running, or is dropped.
    Only the main thread handles signals; elsewhere this does nothing. Signals that the parent has set to be
    ignored (nohup) stay ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in HANG_UP}
    _handle(handler, *HANG_UP)
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def leave_to_parent(terminate: bool = False) -> None:
    """Ignore the signals that a terminal sends to all processes, in a child process that its parent ends.

    Args:
        terminate: ignore SIGTERM too.
    """
    _ignore(signal.SIGINT, *HANG_UP, *([signal.SIGTERM] if terminate else []))
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGHUP))


def follow_parent() -> None:
    """Leave signals to the parent, in a worker of an executor, and end when the parent is gone; the worker
    would wait for work for ever."""
    leave_to_parent()
    threading.Thread(target=_end_with_parent, daemon=True).start()


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Block the signals of a terminal while a child is started, until the child ignores them itself.

    The child calls `leave_to_parent`. This process receives its own signals when the block ends.
    """
    if sys.platform == "win32":
        yield
        return
    from multiprocessing import resource_tracker

    # The start of the resource tracker unblocks signals, so it must not happen inside the block.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGHUP))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Deferred:
    """The Python handlers of signals, held back while a library runs that calls Python back."""

    def __init__(self) -> None:
        self.active = False
        self._handlers: dict[int, Handler] = {}
        self._came: list[tuple[int, FrameType | None]] = []

    def hold(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            handler = signal.getsignal(number)
            if callable(handler):
                self._handlers[number] = handler
                signal.signal(number, self._take)
        self.active = True

    def release(self) -> None:
        self.active = False
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        for number, frame in self._came:
            self._handlers[number](number, frame)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.active:
            self._came.append((number, frame))
        else:
            self._handlers[number](number, frame)


@contextlib.contextmanager
def deferred(*numbers: int) -> Iterator[None]:
    """Handle signals, all `REQUESTS` unless given, when the block has ended.

    For libraries in C that read or write through a Python object: they print and drop every exception of such
    a call, that of Ctrl-C too. Only the main thread handles signals; elsewhere this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held = _Deferred()
    try:
        held.hold(numbers or REQUESTS)
        yield
    finally:
        held.release()


def end(children: Sequence[BaseProcess], patience: float) -> None:
    """Terminate child processes; kill those that still run after some seconds, or when this is
    interrupted."""
    try:
        for child in children:
            child.terminate()
        deadline = time.monotonic() + patience
        for child in children:
            child.join(max(0.0, deadline - time.monotonic()))
    finally:
        late = [child for child in children if child.is_alive()]
        for child in late:
            child.kill()
        for child in late:
            child.join()


def _end_with_parent() -> None:
    from multiprocessing import parent_process

    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _handle(handler: Handler, *numbers: signal.Signals) -> None:
    for number in numbers:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def _ignore(*numbers: signal.Signals) -> None:
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)
