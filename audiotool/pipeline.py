"""A checkpoint made usable: waveforms, blocks or files in, the same out.

    pipeline = audiotool.load("denoise")
    enhanced = pipeline(waveform, sample_rate)                  # (time,) or (channels, time)
    for block in pipeline.stream(blocks, sample_rate): ...      # constant memory
    pipeline.process_file("in.wav", "out.wav")
    live = pipeline.live(sample_rate)                           # feed any number, get what is ready

What a model asks to know of a recording beforehand (`uses_level`, `extends_from_hz`, `warm_up_seconds`) is
measured for arrays and files in a first pass. `stream` waits for the warm-up, and does with a
running estimate of the rest or without; `live` and pipes, have no warm-up either.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import numbers
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np

from audiotool import checkpoint
from audiotool.arrays import Array, ArrayT, Block, UserArray
from audiotool.audio.mono import to_mono
from audiotool.audio.raw import Raw
from audiotool.audio.reader import read
from audiotool.audio.writer import Target
from audiotool.engines.base import Engine
from audiotool.engines.copy_synthesis import CopySynthesis, is_vocoder, mel_of, takes_mel
from audiotool.errors import InputError, StreamError
from audiotool.files.processor import FILE_CHUNK_SECONDS, PIPE_CHUNK_SECONDS, FileResult
from audiotool.files.waveforms import Blocks, Opened, process_file
from audiotool.progress import Progress
from audiotool.streaming.carried import DAMAGED
from audiotool.streaming.first_pass import FirstPass
from audiotool.streaming.resample import StreamingResampler
from audiotool.streaming.session import Session, Settings
from audiotool.streaming.state import StreamState
from audiotool.streaming.streams import Streams

FULL_BAND = 0.95
"""Share of the model's band. A recording with content up to there is not extended, and a remark says so."""

NARROW_BAND = 0.8
"""Share of `extends_from_hz`. When content ends below it, an audible gap stays, and a remark says so."""

SHORTEST_ENROLMENT_SECONDS = 1.0


class Pipeline:
    """One model with everything that lies between it and a user's audio.

    Args:
        engine: what runs the model; a vocoder is made to analyse a waveform first (`CopySynthesis`).
        task: what the model was trained for.
        metadata: what its checkpoint says of itself.
        settings: chunking and mixing; see `Settings`.
        checkpoint_sha256: of the checkpoint's file, by which states of streams are known; "" without one.
        full_band: opens the pipeline for recordings of more than `checkpoint.FULL_BAND_HZ` when the first one
            comes; None where this one serves all.
        conditions: passed to the model at the start of every stream.

    Any number of threads may use one pipeline, each stream in one thread at a time.
    """

    # A misspelt attribute is an error, not a setting that does nothing.
    __slots__ = (
        "__weakref__",
        "_full_band",
        "_made_from",
        "conditions",
        "engine",
        "metadata",
        "settings",
        "task",
    )

    def __init__(
        self,
        engine: Engine,
        task: str,
        metadata: checkpoint.Metadata | None = None,
        settings: Settings | None = None,
        checkpoint_sha256: str = "",
        full_band: Callable[[], Pipeline] | None = None,
        **conditions: Any,
    ) -> None:
        self._made_from = checkpoint_sha256
        self._full_band = None if full_band is None else functools.cache(full_band)
        self.engine = CopySynthesis(engine) if takes_mel(engine) else engine
        self.task = task
        self.metadata = metadata
        self.settings = settings or Settings()
        self.conditions = conditions

    def at(self, sample_rate: int) -> Pipeline:
        """What processes recordings of a sample rate in Hz: this pipeline, or that of the full band."""
        if self._full_band is None or sample_rate <= checkpoint.FULL_BAND_HZ:
            return self
        chosen = self._full_band()
        chosen.settings, chosen.conditions = self.settings, self.conditions
        return chosen

    @property
    def sample_rate(self) -> int:
        """The model's own sample rate in Hz; input of any other is resampled."""
        return self.engine.sample_rate

    @property
    def stems(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return self.engine.stems

    def __call__(self, waveform: ArrayT, sample_rate: int) -> ArrayT:
        """Process a whole waveform.

        Args:
            waveform: (time,) or (channels, time), floating point, numpy or torch; any length.
            sample_rate: Hz.
        Returns:
            The same kind of array with the same shape, type and device; models with several stems put a
            leading axis of stems before it.
        Raises:
            InputError: other shapes or types, NaN or infinite samples.
        """
        sample_rate = _in_whole_hertz(sample_rate)
        array = UserArray(waveform)
        channels, length = array.block.shape

        def blocks(size: int) -> Iterator[Block]:
            return (array.block[:, n : n + size] for n in range(0, length, size))

        opened = self.at(sample_rate)._open(sample_rate, channels, blocks)
        parts = [opened.session.feed(block).stems for block in blocks(opened.size)]
        parts.append(opened.session.flush().stems)
        return array.restore(np.concatenate(parts, axis=-1))

    def stream(self, blocks: Iterable[ArrayT], sample_rate: int) -> Iterator[ArrayT]:
        """Process blocks as they come; the outputs together are as long as the inputs together.

        The first output comes when the whole warm-up has been fed, two seconds for the bundled
        denoisers; `live`, or `warm_up=False`, does not wait.

        Args:
            blocks: each (time,) or (channels, time), all of one kind.
            sample_rate: Hz.
        Yields:
            Arrays of the same kind, whenever some of the output is ready.
        Raises:
            InputError: as `__call__`.
        """
        sample_rate = _in_whole_hertz(sample_rate)
        rest = iter(blocks)
        first = next(rest, None)
        if first is None:
            return
        channels = UserArray(first).block.shape[0]
        rest, held = itertools.chain((first,), rest), []

        def beginning() -> Iterator[Block]:
            for block in rest:
                held.append(block)
                yield UserArray(block).block

        chosen = self.at(sample_rate)
        measured = chosen._measure(beginning(), sample_rate, channels, whole=False)
        session = chosen._session(sample_rate, channels, self.settings, **measured)
        live = LiveStream(session, chosen._made_from)
        for block in itertools.chain(held, rest):
            output = live.feed(block)
            if output.shape[-1]:
                yield output
        tail = cast("ArrayT", live.flush())
        if tail.shape[-1]:
            yield tail

    def live(
        self, sample_rate: int, channels: int | None = None, state: StreamState | None = None
    ) -> LiveStream:
        """A stream to feed by hand: output after every hop unless `settings.chunk_seconds` says more.

        Args:
            sample_rate: Hz.
            channels: 1, or those of the state, when None.
            state: of a stream that goes on here, with its settings; see `LiveStream.state`.
        Raises:
            StreamError: the state is of another checkpoint, engine, rate or number of channels, or damaged.
        """
        sample_rate = _in_whole_hertz(sample_rate)
        chosen = self.at(sample_rate)
        if chosen is not self:
            return chosen.live(sample_rate, channels, state)
        if channels is not None:
            channels = _whole_number(channels, "a stream has channels")
        if state is None:
            return LiveStream(self._session(sample_rate, channels or 1, self.settings), self._made_from)
        reason = state.refusal(
            model=self.engine.name,
            checkpoint_sha256=self._made_from,
            engine=self.engine.kind,
            sample_rate=sample_rate,
            channels=channels,
        )
        if reason is not None:
            raise StreamError(reason)
        live = LiveStream(self._session(sample_rate, state.channels, state.settings), self._made_from)
        live.restore(state)
        return live

    def streams(self, capacity: int = 64) -> Streams:
        """Room for many live streams that are stepped together; their settings are the pipeline's unless
        they ask for others. All go through this model, whatever their rate: see `at` for the full band's.

        Args:
            capacity: rows; a stream takes one, or one a channel where the model hears channels by themselves.
        Raises:
            StreamError: the model is not causal.
        """

        def session(sample_rate: int, channels: int, settings: Settings) -> Session:
            channels = _whole_number(channels, "a stream has channels")
            return self._session(_in_whole_hertz(sample_rate), channels, settings, prepare=False)

        capacity = _whole_number(capacity, "a capacity is given in rows")
        return Streams(self.engine, capacity, session, self.settings)

    def enrol(self, recording: str | Path) -> None:
        """Keep only the speaker of a recording from now on.

        Args:
            recording: a file with a second or more of that voice, any sample rate; channels become one as
                `audio.mono` does it.
        Raises:
            CheckpointError: the model takes no enrolment.
            InputError: the recording cannot be read, is too short, or silent.
        """
        waveform, sample_rate = read(recording)
        seconds = waveform.shape[1] / sample_rate
        if seconds < SHORTEST_ENROLMENT_SECONDS:
            raise InputError(
                f"{recording} lasts {seconds:.2f} s: an enrolment needs {SHORTEST_ENROLMENT_SECONDS:g} s"
                " or more of the speaker"
            )
        if not waveform.any():
            raise InputError(f"{recording} is silent: an enrolment holds the speaker's voice")
        resampler = StreamingResampler(sample_rate, self.sample_rate, 1)
        parts = (resampler.feed(to_mono(waveform, str(recording))[None]), resampler.flush())
        self.conditions = {**self.conditions, **self.engine.enrol(np.concatenate(parts, axis=-1)[None])}

    def process_file(
        self,
        source: str | Path,
        target: str | Path | Target,
        progress: Progress | None = None,
        raw: Raw | None = None,
    ) -> FileResult:
        """Process a file, "-" being standard input or output, in constant memory.

        Args:
            source: anything libsndfile reads.
            target: a path for a model of one stem, else a `Target`. Sample rate (but see `Settings.widens`),
                channels, length and subtype are the input's.
            progress: called after every block.
            raw: what standard input and output and named pipes hold, in place of WAV. Output then comes
                after every hop, as from `live`.
        Raises:
            InputError: the input cannot be read or an output cannot be written; nothing is left behind.
        """

        def opener(sample_rate: int, channels: int, blocks: Blocks | None, live: bool = False) -> Opened:
            return self.at(sample_rate)._open(sample_rate, channels, blocks, live)

        return process_file(opener, self.stems, source, target, progress, raw)

    def _open(self, sample_rate: int, channels: int, blocks: Blocks | None, live: bool = False) -> Opened:
        """The stream of a whole recording; what comes but once, block by block, is not measured first."""
        seconds, together = (PIPE_CHUNK_SECONDS, 1) if blocks is None else (FILE_CHUNK_SECONDS, channels)
        settings = self.settings if live and self.engine.causal else self._with_chunk(seconds, together)
        size = max(1, round((settings.chunk_seconds or FILE_CHUNK_SECONDS) * sample_rate))
        measured = {} if blocks is None else self._measure(blocks(size), sample_rate, channels)
        session = self._session(sample_rate, channels, settings, **measured)
        return Opened(session, size, measured.get("bandwidth_hz"), tuple(self._remarks(measured)))

    def _session(self, sample_rate: int, channels: int, settings: Settings, **measured: Any) -> Session:
        if is_vocoder(self.engine):
            mel_of(self.engine)
        if settings.widens:
            rate = settings.output_rate or max(sample_rate, self.sample_rate)
            settings = dataclasses.replace(settings, output_rate=rate, follow_removal=False)
        return Session(self.engine, sample_rate, channels, settings, **self.conditions, **measured)

    def _with_chunk(self, seconds: float, channels: int) -> Settings:
        """The settings with steps of so much audio, unless the user said how much.

        Channels are rows of one step: what they take together is what one takes, in memory and in caches. A
        model that looks ahead has its segments, each of which needs its surroundings.
        """
        if self.settings.chunk_seconds is not None:
            return self.settings
        together = channels if self.engine.causal else 1
        return dataclasses.replace(self.settings, chunk_seconds=seconds / together)

    def _remarks(self, measured: dict[str, Any]) -> list[str]:
        """What the first pass found, for people."""
        bandwidth = measured.get("bandwidth_hz")
        if bandwidth is None:
            return []
        found, other = f"holds sound up to {bandwidth / 1000:.1f} kHz", None
        begin = self.engine.extends_from_hz or 0.0
        if bandwidth > FULL_BAND * self.sample_rate / 2:
            found += ": there is nothing to extend"
            other = self._other_model(above=max(self.sample_rate, 2 * bandwidth / FULL_BAND))
        elif bandwidth < NARROW_BAND * begin:
            found += f": nothing comes between that and {begin / 1000:.1f} kHz, where the model begins"
            other = self._other_model(below=self.sample_rate)
        elif self.settings.output_rate is not None and bandwidth > FULL_BAND * self.settings.output_rate / 2:
            found += f": an output of {self.settings.output_rate} Hz holds no more than that"
        return [found if other is None else f"{found}; use the model {other}"]

    def _other_model(self, above: float = 0.0, below: float = math.inf) -> str | None:
        """Name of a bundled checkpoint of this task whose sample rate lies between two, in Hz."""
        for name, path in checkpoint.bundled().items():
            other = checkpoint.read_metadata(path)
            if other.task == self.task and above < other.sample_rate < below:
                return name
        return None

    def _measure(
        self, blocks: Iterator[Block], sample_rate: int, channels: int, whole: bool = True
    ) -> dict[str, Any]:
        """First pass: conditions for the streams of this recording; reads no more blocks than it needs."""
        first_pass = FirstPass(self.engine, sample_rate, channels, self.settings.warm_up, whole)
        while not first_pass.complete and (block := next(blocks, None)) is not None:
            first_pass.feed(block)
        return first_pass.conditions()


class LiveStream:
    """A stream fed by hand, in the caller's kind of array.

    Args:
        session: what does the work.
        checkpoint_sha256: of the model's checkpoint, "" where it came from none.
    """

    # A misspelt attribute is an error, not a setting that does nothing.
    __slots__ = ("__weakref__", "_like", "_made_from", "_session")

    def __init__(self, session: Session, checkpoint_sha256: str = "") -> None:
        self._session = session
        self._made_from = checkpoint_sha256
        self._like: UserArray[Any] | None = None

    @property
    def settings(self) -> Settings:
        """Of this stream. Another value counts from the next hop on: `live.settings = replace(…, mix=0.5)`.

        Raises:
            StreamError: anything but `mix` and `max_attenuation_db` is changed.
        """
        return self._session.settings

    @settings.setter
    def settings(self, settings: Settings) -> None:
        self._session.settings = settings

    @property
    def latency(self) -> int:
        """Input samples by which output may lag behind input: algorithm, hop and resampling together."""
        return self._session.latency

    @property
    def latency_seconds(self) -> float:
        """The same in seconds."""
        return self.latency / self._session.sample_rate

    def feed(self, block: ArrayT) -> ArrayT:
        """Consume (time,) or (channels, time) of any time >= 0; return what is ready, in the same kind.

        Raises:
            InputError: wrong shape or type, NaN or infinite samples.
            StreamError: the stream has ended, or the channels changed.
        """
        self._like = like = UserArray(block)
        return like.restore(self._session.feed(like.block).stems)

    def flush(self) -> Array:
        """End the stream and return its tail in the kind that was fed: outputs and inputs are equally long.

        Raises:
            StreamError: nothing was fed, or the stream has ended.
        """
        if self._like is None:
            raise StreamError("nothing was fed into this stream")
        tail: Array = self._like.restore(self._session.flush().stems)
        return tail

    def reset(self) -> None:
        """Forget everything; the next `feed` begins a new stream."""
        self._session.reset()
        self._like = None

    def state(self) -> StreamState:
        """All that this stream carries, as a value to keep or send; `Pipeline.live` goes on from it.

        What an enrolment said of the speaker is part of it, but only for this stream.

        Raises:
            StreamError: the stream has ended.
        """
        session, like = self._session, self._like
        return StreamState(
            model=session.engine.name,
            checkpoint_sha256=self._made_from,
            engine=session.engine.kind,
            sample_rate=session.sample_rate,
            channels=session.channels,
            settings=session.settings,
            values={
                "session": session.state(),
                "like": None if like is None else np.zeros((0,) if like.flat else (1, 0), like.dtype),
            },
        )

    def restore(self, state: StreamState) -> None:
        """Go on from a state of the same kind of stream, as `Pipeline.live` checks it.

        Until the next `feed`, `flush` gives a numpy array.

        Raises:
            StreamError: the state is damaged.
        """
        if not isinstance(state.values, dict) or state.values.keys() != {"session", "like"}:
            raise StreamError(DAMAGED)
        self._session.restore(state.values["session"])
        like = state.values["like"]
        try:
            self._like = None if like is None else UserArray(like)
        except InputError as error:
            raise StreamError(DAMAGED) from error

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise StreamError(
            "a live stream holds a running model, which is not copied: keep live.state(), and go on with"
            " pipeline.live(sample_rate, state=state)"
        )


def _whole_number(value: Any, what: str) -> int:
    """A positive whole number, of whatever numeric type.

    Raises:
        InputError: it is none.
    """
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or value <= 0 or value != int(value):
        raise InputError(f"{what}, a whole number above 0, got {value!r}")
    return int(value)


def _in_whole_hertz(sample_rate: Any) -> int:
    return _whole_number(sample_rate, "a sample rate is given in Hz")
