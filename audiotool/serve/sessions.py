"""The streams and files of a server: counted and logged at their end, and ended when the server stops."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from audiotool.errors import AudiotoolError
from audiotool.serve.service import STOPS, Service
from audiotool.text import one_line

log = logging.getLogger(__name__)

NORMAL, GOING_AWAY, BAD_FRAME, BAD_DATA = 1000, 1001, 1002, 1007
POLICY, TOO_LONG, TRY_LATER = 1008, 1009, 1013
"""Codes of closing frames (RFC 6455, section 7.4; 1013 is of the registry of such codes)."""

UNAVAILABLE = 503
"""HTTP status of a file for which the server has no place, or no time."""

TOO_SLOW = 408
"""HTTP status of a file that its client sends, or whose answer it reads, too slowly."""

CLIENT_LEFT = "the client left"
UNREAD = "what was sent was not read"
"""Reasons why a stream or a file has ended."""

LOST = "lost"
"""Key of a request's state (ASGI): the exception with which its work ends because its connection is gone. A
stream has none whose client has left."""

DRAIN_SECONDS = 30.0
"""Longest time for which a server that stops works on its streams and files. A file of 600 s takes about
10 s, and a stream whose client reads nothing is left after 20 s."""

CUT_SECONDS = 6.0
"""Longest time until those that take longer have been told so. A closing frame takes up to five."""

TELL_SECONDS = 0.05
"""Time in which those that are cut at once are told so, if they read."""


@dataclass(frozen=True)
class Limits:
    """Limits of each client.

    Args:
        idle_seconds: longest time without a message; then the stream ends.
        stall_seconds: longest time in which a client reads nothing, or sends nothing of a file.
        upload_bytes: greatest size of a file in bytes.
        upload_seconds: greatest length of a file in seconds of audio.
        arrival_seconds: longest time until a file has arrived, and until its answer has.
    """

    idle_seconds: float = 60.0
    stall_seconds: float = 20.0
    upload_bytes: int = 64_000_000
    upload_seconds: float = 600.0
    arrival_seconds: float = 300.0


class Refused(Exception):
    """A stream or a file is refused, or is ended early.

    Args:
        code: code of the closing frame of a stream, or HTTP status of a file.
        message: one line for the client.
    """

    def __init__(self, code: int, message: AudiotoolError | str) -> None:
        super().__init__(str(message))
        self.code = code


@dataclass
class LogEntry:
    """A stream or a file, as the log tells of it.

    Args:
        what: "stream" or "file".
    Attributes:
        begun: whether it has got a place.
        audio: sample rate, channels and length of what came; "" if they are not known.
        end: why it ended.
    """

    what: str
    begun: bool = False
    audio: str = ""
    end: str = ""

    def came(self, sample_rate: int, channels: int, frames: int) -> None:
        """Note what came: sample rate in Hz, channels, and number of samples of each."""
        plural = "s" if channels > 1 else ""
        self.audio = f", {sample_rate} Hz, {channels} channel{plural}, {frames / sample_rate:.1f} s"

    def __str__(self) -> str:
        return one_line(f"{self.what}{self.audio}: {self.end}")


class Sessions:
    """The streams and files that a server works on.

    Args:
        service: the server's.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._tasks: set[asyncio.Task[Any]] = set()

    @contextlib.contextmanager
    def entry(self, what: str, code: int) -> Iterator[LogEntry]:
        """Return a context of a stream or a file, for which `stop` waits until its task has answered.

        Args:
            what: "stream" or "file".
            code: with which it is refused or cut when the server stops.
        Raises:
            Refused: the server stops and takes no more, or cuts this one.
        """
        entry, counters = LogEntry(what), self._service.counters
        try:
            with self._until_stop(code):
                yield entry
        except Refused as refused:
            entry.end = f"{refused} ({refused.code})"
            if entry.begun:
                counters.failed += 1
            elif refused.code in (GOING_AWAY, TRY_LATER, UNAVAILABLE):
                counters.refused += 1
            raise
        except Exception as error:
            entry.end = f"internal error: {type(error).__name__}"
            counters.failed += 1
            raise
        finally:
            log.info("%s", entry)

    @contextlib.contextmanager
    def _until_stop(self, code: int) -> Iterator[None]:
        task = asyncio.current_task()
        assert task is not None
        if self._service.stopping:
            raise Refused(code, STOPS)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            yield
        except asyncio.CancelledError:
            raise Refused(code, STOPS) from None

    async def stop(self, is_urgent: Callable[[], bool]) -> None:
        """Take no more streams and files, and end those that are here.

        Streams end as if their clients had ended them, files are finished. What takes longer than
        `DRAIN_SECONDS` is cut, with a reason.

        Args:
            is_urgent: whether to cut at once; asked again and again.
        """
        self._service.stop()
        await self._ended(DRAIN_SECONDS, is_urgent)
        for task in self._tasks:
            task.cancel()
        await self._ended(TELL_SECONDS, lambda: False)
        await self._ended(CUT_SECONDS, is_urgent)

    async def _ended(self, seconds: float, is_urgent: Callable[[], bool]) -> None:
        """Wait until all have ended, for so many seconds at most, and no longer than there is time."""
        end = time.monotonic() + seconds
        while self._tasks and time.monotonic() < end and not is_urgent():
            await asyncio.sleep(0.05)
