"""Many live streams, stepped together.

    streams = pipeline.streams(capacity=64)
    call = streams.join(sample_rate=8000)
    call.push(block)                    # as many samples as came
    while streams.step(): ...           # a hop of each stream that has one
    block = call.pull()                 # what is ready
    tail = call.flush()                 # the call ends, its place is free

Streams join and leave at any time, each with its own sample rate, channels and settings. The output of each
equals that of a stream by itself; the batch only takes less time. One thread at a time may use `Streams` and
its streams.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

from audiotool.arrays import Array, UserArray
from audiotool.engines.base import Engine, Rows, joined, parted
from audiotool.errors import StreamError
from audiotool.streaming.live_stream import ArrayStream
from audiotool.streaming.onset import Onsets
from audiotool.streaming.pauses import SHARE, energies
from audiotool.streaming.session import Session, Settings
from audiotool.streaming.state import StreamState
from audiotool.streaming.streamer import CausalStreamer

MOST = 100_000
"""Greatest capacity: the states of all rows lie in memory from the beginning."""


class FullError(StreamError):
    """A stream cannot join, because too few rows are free."""


class Streams:
    """Live streams, stepped in one batch a model.

    Args:
        engine: causal; of the first batch.
        capacity: rows of all batches together. A stream takes one row, or one a channel where the model takes
            single channels and separates no speakers.
        open_session: function of (sample rate in Hz, channels, settings) that returns a session, and the
            SHA-256 of its model's checkpoint.
        settings: the default of `join`.
    Raises:
        StreamError: the model is not causal, or the capacity is out of range.
    """

    def __init__(
        self,
        engine: Engine,
        capacity: int,
        open_session: Callable[[int, int, Settings], tuple[Session, str]],
        settings: Settings | None = None,
    ) -> None:
        if not 1 <= capacity <= MOST:
            raise StreamError(f"a capacity is from 1 to {MOST:,} rows, got {capacity}")
        self.capacity = capacity
        self.settings = settings or Settings()
        self._open = open_session
        self._batches = {id(engine): _SharedBatch(engine, capacity)}

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise StreamError(
            "streams hold running models, which are not copied: keep stream.state() of each, and go on with"
            " streams.join(sample_rate, state=state)"
        )

    def __repr__(self) -> str:
        first, *_ = self._batches.values()
        return (
            f"<Streams: {first.engine.name} at {first.engine.sample_rate} Hz, {len(self)} joined,"
            f" {self.free} of {self.capacity} rows free>"
        )

    def __len__(self) -> int:
        """Number of streams that have joined and not left."""
        return sum(len(batch.streams) for batch in self._batches.values())

    def __bool__(self) -> bool:
        """True, also without a stream."""
        return True

    @property
    def free(self) -> int:
        """Number of free rows."""
        return self.capacity - sum(len(rows) for batch in self._batches.values() for rows in batch.streams)

    def join(
        self,
        sample_rate: int,
        channels: int | None = None,
        settings: Settings | None = None,
        state: StreamState | None = None,
    ) -> SharedStream:
        """Begin a stream.

        Args:
            sample_rate: Hz.
            channels: number of channels of its blocks; None is 1, or the state's.
            settings: of this stream; `chunk_seconds` has to be None, because all streams step by hops.
            state: of a stream, live or shared, that continues here with its settings.
        Raises:
            FullError: too few rows are free.
            StreamError: the settings do not fit, or the state belongs to another kind of stream.
        """
        if state is not None:
            StreamState.expect(state)
            if settings is not None:
                raise StreamError("a state has the settings of its stream: give one of the two")
            settings, channels = state.settings, state.channels if channels is None else channels
        settings = self.settings if settings is None else settings
        Settings.expect(settings)
        if settings.chunk_seconds is not None:
            raise StreamError("streams that are stepped together step by hops: chunk_seconds is None")
        session, checkpoint_sha256 = self._open(sample_rate, 1 if channels is None else channels, settings)
        needed = session.model_shape[0]
        if needed > self.free:
            raise FullError(
                f"too few places are free ({self.free} of {self.capacity}, and this stream needs {needed}):"
                " let one leave, or make room with a greater capacity"
            )
        like = None
        if state is not None:
            state.check(session.engine, checkpoint_sha256, session.sample_rate, session.channels)
            like = state.into(session)
        engine = session.engine
        batch = self._batches.get(id(engine))
        if batch is None:
            batch = self._batches[id(engine)] = _SharedBatch(engine, self.capacity)
        stream = SharedStream(batch, session, batch.lowest_free(needed), checkpoint_sha256, like)
        batch.attach(stream)
        return stream

    def step(self) -> int:
        """Step every stream that has a whole hop by one hop; return the number of these streams."""
        return sum(batch.step() for batch in self._batches.values())


class _SharedBatch:
    """The streams of one engine.

    Args:
        engine: causal.
        capacity: rows.
    """

    def __init__(self, engine: Engine, capacity: int) -> None:
        self.engine = engine
        self.capacity = capacity
        self.streams: dict[Rows, SharedStream] = {}
        self._batch = engine.batch(capacity)
        # One object for all rows: a single call finds the onsets of all streams.
        self._onsets = Onsets(engine.hop_length, engine.sample_rate) if engine.forgets_quiet else None

    def lowest_free(self, count: int) -> Rows:
        """Return the lowest free rows. The batch does not copy adjacent rows."""
        taken = {row for rows in self.streams for row in rows}
        return tuple(islice((row for row in range(self.capacity) if row not in taken), count))

    def step(self) -> int:
        """Step every stream that has a whole hop; return the number of these streams."""
        stepped = [
            stream
            for stream in self.streams.values()
            if stream.streamer.has_hop and not stream.session.is_interrupted
        ]
        if not stepped:
            return 0
        for stream in stepped:
            stream.session.begin_block()
        members = [(stream.rows, stream.streamer.take_hop()) for stream in stepped]
        if self._onsets is not None:
            self._forget_quiet(members, self._onsets)
        outputs = self._batch.step(members)
        if self._onsets is not None:
            self._forget_pauses(members, outputs)
        for stream, output in zip(stepped, outputs, strict=True):
            stream.session.receive(stream.streamer.give(output))
            stream.session.end_block()
        return len(members)

    def _forget_quiet(self, members: list[tuple[Rows, Any]], onsets: Onsets) -> None:
        """Reset the state of streams at their onsets."""
        every, x = joined(members)
        part = onsets.take(every)
        begins = part.find(x)[:, 0]
        onsets.put(every, part, self.capacity)
        if not begins.any():
            return
        for rows, mask in parted(members, begins).items():
            if mask.any():
                self._batch.insert(rows, self.engine.forget(self._batch.extract(rows), mask))

    def _forget_pauses(self, members: list[tuple[Rows, Any]], outputs: list[Any]) -> None:
        """Reset a share of the state of streams after each second in which nothing was kept."""
        given = parted(members, energies(joined(members)[1]))
        for (rows, x), output in zip(members, outputs, strict=True):
            pauses = self.streams[rows].streamer.pauses
            mask = None if pauses is None else pauses.add(x.shape[-1], given[rows], energies(output))
            if mask is not None:
                state = self.engine.forget(self._batch.extract(rows), mask, None, SHARE)
                self._batch.insert(rows, state)

    def attach(self, stream: SharedStream) -> None:
        """Move the state of the stream's streamer into the batch."""
        streamer = stream.streamer
        self.streams[stream.rows] = stream
        self._batch.insert(stream.rows, streamer.memory)
        if self._onsets is not None and streamer.onsets is not None:
            self._onsets.put(list(stream.rows), streamer.onsets, self.capacity)
        streamer.is_stepped_elsewhere = True

    def detach(self, stream: SharedStream) -> None:
        """Copy the stream's rows of the batch back into its streamer."""
        streamer = stream.streamer
        streamer.memory = self._batch.extract(stream.rows)
        if self._onsets is not None:
            streamer.onsets = self._onsets.take(list(stream.rows))
        streamer.is_stepped_elsewhere = False

    def leave(self, stream: SharedStream) -> None:
        """Free the stream's rows, unless they are another's by now."""
        if self.streams.get(stream.rows) is stream:
            del self.streams[stream.rows]
            self._batch.remove(stream.rows)


class SharedStream(ArrayStream):
    """One of many streams, in the caller's kind of array; `Streams.join` makes it.

    Its latency is reached when all whole hops have been stepped.

    Attributes:
        rows: the stream's rows in the batch.
    """

    __slots__ = ("_batch", "rows", "streamer")

    def __init__(
        self,
        batch: _SharedBatch,
        session: Session,
        rows: Rows,
        checkpoint_sha256: str,
        like: UserArray | None,
    ) -> None:
        assert isinstance(session.streamer, CausalStreamer)
        super().__init__(session, checkpoint_sha256, like)
        self._batch = batch
        self.streamer = session.streamer
        self.rows = rows

    def push(self, block: Array) -> None:
        """Add (time,) or (channels, time) of any time >= 0.

        Raises:
            InputError: wrong shape or type, NaN, or samples beyond `arrays.LOUDEST`; the stream goes on as if
                the block had not come.
            StreamError: the stream has ended, or the channels changed.
        """
        self._check_joined()
        like = UserArray(block)
        self.session.push(like.block)
        self._like = like

    def pull(self) -> Any:
        """Return the output that is ready, in the kind of array that was pushed, which type checkers do not
        know.

        Raises:
            StreamError: nothing was pushed yet.
        """
        return self._kind().restore(self.session.pull().stems)

    def state(self) -> StreamState:
        """Return all that this stream carries, as a value; `Streams.join` and `Pipeline.live` continue from
        it.

        Raises:
            StreamError: the stream has left, or its state is not finite.
        """
        self._check_joined()
        self._batch.detach(self)
        try:
            return StreamState.of(self.session, self._like, self._checkpoint_sha256)
        finally:
            self._batch.attach(self)

    def flush(self) -> Any:
        """End the stream, free its rows and return its tail, as `pull` does. Output and input then last
        equally long.

        Raises:
            StreamError: nothing was pushed, or the stream has left.
        """
        kind = self._kind()
        self._check_joined()
        self._batch.detach(self)
        self._batch.leave(self)
        return kind.restore(self.session.flush().stems)

    def leave(self) -> None:
        """End the stream without a tail and free its rows. A second call does nothing."""
        self._batch.leave(self)

    def _check_joined(self) -> None:
        if self._batch.streams.get(self.rows) is not self:
            raise StreamError("this stream has left")

    def _kind(self) -> UserArray:
        if self._like is None:
            raise StreamError("nothing was pushed into this stream")
        return self._like
