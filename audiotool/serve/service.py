"""The streams of a server. One thread steps all streams; clients that send, stall or leave do not block it.

    event loop   bytes of each client ──> bounded queue ─┐
    one thread                                           ├─ push, step together, pull ─┐
    event loop   bytes for each client <── bounded queue <────────────────────────────┘

If a client does not read, its queues fill up, and the server reads nothing more from it: memory is bounded.
Settings wait in the queue among the bytes, and so do not reach the bytes that were sent before them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from audiotool.arrays import Block, first_unusable
from audiotool.audio.raw import Raw
from audiotool.errors import AudiotoolError, InputError, StreamError
from audiotool.pipeline import Pipeline
from audiotool.streaming.session import Settings
from audiotool.streaming.streams import FullError, SharedStream

log = logging.getLogger(__name__)

QUEUE_SECONDS = 2.0
"""Capacity of a client's queues before and after processing, in seconds of audio."""

ROUND_SECONDS = 0.25
"""Greatest audio of a client in one round, in seconds, so that a client with much input does not delay the
others."""

GATHER_SECONDS = 0.003
"""Seconds for which a round waits after its first block, so that more streams are stepped together."""

CLIENT_ENDED = "the client ended it"
STOPS = "the server stops"
"""Reasons why a stream has ended."""

Result = TypeVar("Result")


@dataclass
class Counters:
    """Counters since the server's start.

    Attributes:
        streams: number of streams that began.
        files: number of processed files.
        refused: number of streams and files that came while there was no place, or while the server stopped.
        failed: number of streams and files that had a place and were ended by an error or a limit.
        audio_seconds: length of the audio received, in seconds.
        rounds, round_seconds, longest_round_seconds: number of rounds, their time together, and the longest.
    """

    streams: int = 0
    files: int = 0
    refused: int = 0
    failed: int = 0
    audio_seconds: float = 0.0
    rounds: int = 0
    round_seconds: float = 0.0
    longest_round_seconds: float = 0.0


@dataclass(eq=False)
class Call:
    """A client's stream.

    Args:
        stream: the stream in the service's batch.
        raw: encoding, sample rate and channels of the client's bytes.
        answer: encoding, sample rate and channels of the bytes for the client.
        settings: the latest that the client has asked for. Bytes that came before them may still wait.
    Attributes:
        samples_in, samples_out: number of samples so far, of each channel.
        limited: number of output samples limited to full scale.
        failure: reason why the stream cannot continue; None if it can.
        end: why the input has ended; "" if it has not.
    """

    stream: SharedStream
    raw: Raw
    answer: Raw
    settings: Settings
    samples_in: int = 0
    samples_out: int = 0
    limited: int = 0
    failure: str | None = None
    end: str = ""
    _inbound: deque[bytes | Settings] = field(default_factory=deque)
    _outbound: deque[bytes] = field(default_factory=deque)
    _incomplete: bytes = b""
    _waiting: int = 0
    _unread: int = 0
    _ending: bool = False
    _ended: bool = False
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def incomplete_bytes(self) -> int:
        """Number of received bytes that are no whole sample yet; at the end, of bytes that are left out."""
        return len(self._incomplete)

    @property
    def latency_ms(self) -> float:
        """Greatest lag of the output in milliseconds: algorithm, hop and resampling together."""
        return 1000 * self.stream.latency_seconds

    @property
    def _has_work(self) -> bool:
        ready = bool(self._inbound) or (self._ending and not self._ended)
        return ready and self.failure is None and self._unread < _bytes_of(self.answer, QUEUE_SECONDS)

    async def next(self) -> bytes | None:
        """Wait for output and return it; None when the stream has ended.

        Raises:
            StreamError: the stream cannot continue.
        """
        while not self._outbound:
            if self.failure is not None:
                raise StreamError(self.failure)
            if self._ended:
                return None
            await self._change()
        data = b"".join(self._outbound)
        self._outbound.clear()
        return data

    async def has_room(self) -> None:
        """Wait until the input queue has room, or the stream has failed."""
        while self._waiting >= _bytes_of(self.raw, QUEUE_SECONDS) and self.failure is None:
            await self._change()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _take(self) -> tuple[Settings | None, bytes]:
        """Remove and return the input of one round: settings if they come first, and the bytes up to the next
        settings, whole samples alone."""
        settings = None
        most = _bytes_of(self.raw, ROUND_SECONDS)
        parts, size = [self._incomplete], len(self._incomplete)
        while self._inbound and size < most:
            part = self._inbound.popleft()
            if isinstance(part, Settings):
                if len(parts) > 1:
                    self._inbound.appendleft(part)
                    break
                settings = part
                continue
            if size + len(part) > most:
                part, later = part[: most - size], part[most - size :]
                self._inbound.appendleft(later)
            parts.append(part)
            size += len(part)
            self._waiting -= len(part)
        data = b"".join(parts)
        whole = len(data) // self.raw.frame_bytes * self.raw.frame_bytes
        self._incomplete = data[whole:]
        return settings, data[:whole]


def _bytes_of(raw: Raw, seconds: float) -> int:
    """Return the number of bytes of so many seconds of audio, in whole samples."""
    return int(seconds * raw.rate) * raw.frame_bytes


class Service:
    """Streams of one task and checkpoint. Above 24 kHz the task's full-band checkpoint is used if it has one.

    Args:
        pipeline: causal, with one output.
        capacity: rows of all streams together, see `Streams`.
    Raises:
        StreamError: the model looks ahead, or has several outputs.
    """

    def __init__(self, pipeline: Pipeline, capacity: int) -> None:
        if len(pipeline.stems) > 1:
            raise StreamError(
                f"a server answers with one recording, and this model gives {len(pipeline.stems)}"
            )
        self.pipeline = pipeline
        self.capacity = capacity
        self.counters = Counters()
        self.calls: set[Call] = set()
        self.stopping = False
        self.streams = pipeline.streams(capacity)
        # A stream above 24 kHz loads the full-band checkpoint. That of a client would hold up all others.
        self.streams.join(48000).leave()
        self._thread = ThreadPoolExecutor(1, "audiotool-streams")
        self._wake = asyncio.Event()

    @property
    def places_taken(self) -> int:
        """Number of places of the capacity that streams take: one each, or one a channel, see `Streams`."""
        return self.capacity - self.streams.free

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Return a context in which the streams are stepped."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            self._thread.shutdown()

    async def open(self, raw: Raw, settings: Settings) -> Call:
        """Begin a stream.

        Raises:
            FullError: too few places are free.
            AudiotoolError: sample rate, channels or settings are not possible.
        """
        call = await self._in_thread(self._join, raw, settings)
        self.calls.add(call)
        self.counters.streams += 1
        if self.stopping:
            self.end(call, STOPS)
        return call

    async def close(self, call: Call) -> None:
        """End a stream, finished or not, and free its place. A second call does nothing."""
        if call in self.calls:
            self.calls.discard(call)
            call._ending = call._ended = True
            call._inbound.clear()
            await self._in_thread(call.stream.leave)

    def feed(self, call: Call, data: bytes) -> None:
        """Queue bytes of a client. Wait for `Call.has_room` before the next call."""
        if data and not call._ending:
            call._inbound.append(data)
            call._waiting += len(data)
            self._wake.set()

    def change(self, call: Call, settings: Settings) -> None:
        """Queue settings of a client: they count for the bytes after them."""
        if call._ending:
            return
        if call._inbound and isinstance(call._inbound[-1], Settings):
            call._inbound.pop()  # with no bytes between them only the later ones count
        call._inbound.append(settings)
        call.settings = settings
        self._wake.set()

    def end(self, call: Call, why: str = CLIENT_ENDED) -> None:
        """End a stream's input, unless it has ended. The rest is processed, then `Call.next` returns None.

        Args:
            why: reason, for the client.
        """
        if not call._ending:
            call._ending, call.end = True, why
            self._wake.set()

    def stop(self) -> None:
        """End the input of all streams, also of those that are just beginning."""
        self.stopping = True
        for call in self.calls:
            self.end(call, STOPS)

    def mark_sent(self, call: Call, data: bytes) -> None:
        """Note that output of `Call.next` has been sent, and continue a stream that has waited for it."""
        call._unread -= len(data)
        if call._has_work:
            self._wake.set()

    async def _in_thread(self, work: Callable[..., Result], *arguments: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def _join(self, raw: Raw, settings: Settings) -> Call:
        try:
            stream = self.streams.join(raw.rate, raw.channels, settings)
        except FullError as error:
            needs, free = f"{raw.channels} channels take {raw.channels} places", self.streams.free
            if raw.channels > self.capacity:
                raise StreamError(f"{needs}, and there are {self.capacity}") from error
            if not free:
                raise FullError(f"all {self.capacity} places are taken: try again later") from error
            verb = "is" if free == 1 else "are"
            raise FullError(f"{needs}, and {free} of {self.capacity} {verb} free: try again later") from error
        session = stream.session
        answer = Raw(raw.encoding, stream.output_rate, session.output_channels)
        return Call(stream, raw, answer, session.settings)

    async def _run(self) -> None:
        """Run rounds until cancelled. A round processes all streams that have work, together."""
        while True:
            await self._wake.wait()
            await asyncio.sleep(GATHER_SECONDS)
            self._wake.clear()
            calls = [call for call in self.calls if call._has_work]
            if not calls:
                continue
            work = [(call, *call._take(), call._ending and not call._inbound) for call in calls]
            began = time.perf_counter()
            answers = await self._in_thread(self._round, work)
            elapsed = time.perf_counter() - began
            counters = self.counters
            counters.rounds += 1
            counters.round_seconds += elapsed
            counters.longest_round_seconds = max(counters.longest_round_seconds, elapsed)
            for call, answer in zip(calls, answers, strict=True):
                if answer:
                    call._outbound.append(answer)
                    call._unread += len(answer)
                if call._has_work:
                    self._wake.set()
                call._changed.set()

    def _round(self, work: list[tuple[Call, Settings | None, bytes, bool]]) -> list[bytes]:
        """Push input, step, and pull output, in the one thread that uses the streams.

        Args:
            work: (stream, its new settings, its new bytes, whether they are its last) of each stream.
        Returns:
            The output of each stream in bytes.
        """
        for call, settings, data, _ in work:
            with self._failing(call):
                if settings is not None:
                    call.stream.settings = settings
                self._push(call, call.raw.decode(data).T)
        try:
            while self.streams.step():
                pass
        except Exception as error:  # a fault of audiotool ends these streams, not the server
            log.exception("a round failed")
            for call, *_ in work:
                if call.failure is None:
                    call.failure = f"internal error: {type(error).__name__}"
        return [self._pulled(call, ends) for call, *_, ends in work]

    def _push(self, call: Call, block: Block) -> None:
        """Push (channels, time), up to the first sample that is NaN, infinite or beyond `arrays.LOUDEST`.

        Raises:
            InputError: there is one.
        """
        found = first_unusable(block)
        sound = block if found is None else block[:, : found.at]
        call.stream.push(sound)
        call.samples_in += sound.shape[1]
        self.counters.audio_seconds += sound.shape[1] / call.raw.rate
        if found is not None:
            seconds = call.samples_in / call.raw.rate
            raise InputError(
                f"the stream holds {found.value} at sample {call.samples_in} of channel {found.channel + 1},"
                f" {seconds:.3f} s from its beginning"
            )

    def _pulled(self, call: Call, ends: bool) -> bytes:
        """Return the output of a stream that is ready, with its tail where it ends and has not failed."""
        answer = b""
        with self._failing(call):
            answer = self._answer(call, call.stream.pull())
            if ends and call.failure is None:
                answer += self._answer(call, call.stream.flush())
                call._ended = True
        return answer

    def _answer(self, call: Call, block: Any) -> bytes:
        data, limited = call.answer.encode(block.T)
        call.samples_out += block.shape[1]
        call.limited += limited
        return data

    @contextlib.contextmanager
    def _failing(self, call: Call) -> Iterator[None]:
        """Turn an exception into the failure of this stream alone; its first failure counts."""
        try:
            yield
        except AudiotoolError as error:
            call.failure = call.failure or str(error)
        except Exception as error:
            log.exception("a stream failed")
            call.failure = call.failure or f"internal error: {type(error).__name__}"
