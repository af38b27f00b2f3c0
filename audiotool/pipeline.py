"""A pipeline runs a checkpoint on waveforms, blocks, files and live streams of any sample rate.

    pipeline = audiotool.load("denoise")
    enhanced = pipeline(waveform, sample_rate)                  # (time,) or (channels, time)
    for block in pipeline.stream(blocks, sample_rate): ...      # constant memory
    pipeline.process_file("in.wav", "out.wav")
    live = pipeline.live(sample_rate)                           # feed any number, get the finished samples
    waveform = vocoder.vocode(mel)                              # (n_mels, frames) to (time,)

Conditions that depend on a whole recording (`uses_level`, `extends_from_hz`, `warm_up_seconds`) are measured
for arrays and files in a first pass. `stream` waits for the warm-up, uses a running estimate of the level,
and does not measure the bandwidth. `live` and pipes have no warm-up either.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from numbers import Number
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from audiotool import bandwidths, checkpoint, named_checkpoints
from audiotool.arrays import (
    Array,
    Block,
    ScalarT,
    UserArray,
    as_kind_of,
    in_whole_hertz,
    values_of,
    whole_number,
)
from audiotool.audio.formats import is_mel_name
from audiotool.audio.target import Target
from audiotool.engines.base import Engine
from audiotool.engines.copy_synthesis import CopySynthesis, is_vocoder, mel_of, takes_mel
from audiotool.errors import InputError, StreamError
from audiotool.files.enrolment import read_enrolment
from audiotool.files.processor import FILE_CHUNK_SECONDS, PIPE_CHUNK_SECONDS, FileResult
from audiotool.files.waveforms import Blocks, Opened, process_file
from audiotool.paths import local_path
from audiotool.progress import ArrayProgress, Progress
from audiotool.streaming.first_pass import FirstPass
from audiotool.streaming.live_stream import LiveStream
from audiotool.streaming.session import Session, Settings

if TYPE_CHECKING:
    import torch

    from audiotool.audio.raw import Raw
    from audiotool.streaming.state import StreamState
    from audiotool.streaming.streams import Streams


class Pipeline:
    """One model, with resampling, channels, levels and mixing for a user's audio.

    Args:
        engine: runs the model. A vocoder is wrapped in `CopySynthesis`, which analyses a waveform first.
        task: name of the task that the model was trained for.
        metadata: of the checkpoint.
        settings: the options of all streams, see `Settings`.
        checkpoint_sha256: hash of the checkpoint's file, which states of streams hold; "" without one.
        full_band: function that opens the pipeline for recordings of more than
            `named_checkpoints.FULL_BAND_HZ`, called for the first of them; None where this pipeline serves
            all.
        reload: picklable function that loads this pipeline again, in a process to which it is sent; None
            where it cannot be sent.
        conditions: arguments of `Engine.start` of every stream.

    Any number of threads may use one pipeline, each stream in one thread at a time.
    """

    # A misspelt attribute is an error, not a setting that does nothing.
    __slots__ = (
        "__weakref__",
        "_full_band",
        "_reload",
        "_settings",
        "checkpoint_sha256",
        "conditions",
        "engine",
        "metadata",
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
        reload: Callable[[], Pipeline] | None = None,
        **conditions: Any,
    ) -> None:
        self.checkpoint_sha256 = checkpoint_sha256
        self._reload = reload
        self._full_band = None if full_band is None else _once(full_band)
        self.engine = CopySynthesis(engine) if takes_mel(engine) else engine
        self.task = task
        self.metadata = metadata
        self.settings = Settings() if settings is None else settings
        self.conditions = conditions

    def __repr__(self) -> str:
        architecture = "" if self.metadata is None else f" by {self.metadata.model['name']}"
        return (
            f"<Pipeline: {self.task}{architecture} at {self.sample_rate} Hz,"
            f" {self.engine.kind} on {self.engine.device_name}>"
        )

    def __reduce__(self) -> Any:
        """Pickle what loads the pipeline again: a running model cannot be sent to another process."""
        if self._reload is None:
            raise StreamError(
                "a pipeline around an engine of your own is not pickled: make one in each process, as with"
                " multiprocessing.Pool(initializer=...)"
            )
        return self._reload, (), (None, {"settings": self.settings, "conditions": self.conditions})

    def at(self, sample_rate: int) -> Pipeline:
        """Return the pipeline for recordings of a sample rate in Hz: this one, or that of the full band."""
        if self._full_band is None or sample_rate <= named_checkpoints.FULL_BAND_HZ:
            return self
        chosen = self._full_band()
        chosen.settings, chosen.conditions = self.settings, self.conditions
        return chosen

    @property
    def settings(self) -> Settings:
        """The options of all streams that begin from now on, see `Settings`.

        Raises:
            StreamError: anything but a `Settings` is set.
        """
        return self._settings

    @settings.setter
    def settings(self, settings: Settings) -> None:
        Settings.expect(settings)
        self._settings = settings

    @property
    def sample_rate(self) -> int:
        """The model's sample rate in Hz; input of another rate is resampled."""
        return self.engine.sample_rate

    def output_rate(self, sample_rate: int) -> int:
        """Return the output's sample rate in Hz for input of a sample rate in Hz.

        It is the input's, unless `Settings.output_rate` is set or the model widens the band.

        Raises:
            InputError: the sample rate is no whole number above 0.
        """
        sample_rate = in_whole_hertz(sample_rate)
        return self.settings.rate_for(sample_rate, self.at(sample_rate).sample_rate)

    @property
    def stems(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return self.engine.stems

    @overload
    def __call__(
        self, waveform: NDArray[ScalarT], sample_rate: int, progress: ArrayProgress | None = None
    ) -> NDArray[ScalarT]: ...
    @overload
    def __call__(
        self, waveform: torch.Tensor, sample_rate: int, progress: ArrayProgress | None = None
    ) -> torch.Tensor: ...
    def __call__(self, waveform: Array, sample_rate: int, progress: ArrayProgress | None = None) -> Array:
        """Process a whole waveform.

        Args:
            waveform: (time,) or (channels, time), floating point or int16, numpy or torch; any length.
            sample_rate: Hz.
            progress: called after every block, in input samples of each channel; an exception from it ends
                the processing.
        Returns:
            The same kind of array with the same axes, type and device, as long in seconds as the input, at
            `output_rate(sample_rate)`; models with several stems put a leading axis of stems before it.
        Raises:
            InputError: other shapes or types, NaN, or samples beyond `arrays.LOUDEST`.
        """
        sample_rate = in_whole_hertz(sample_rate)
        array = self._waveform(waveform)
        channels, length = array.block.shape

        def blocks(size: int) -> Iterator[Block]:
            return (array.block[:, n : n + size] for n in range(0, length, size))

        opened = self.open(sample_rate, channels, blocks)
        parts, done = [], 0
        for block in blocks(opened.size):
            parts.append(opened.session.feed(block).stems)
            done += block.shape[1]
            if progress is not None:
                progress(done, length)
        parts.append(opened.session.flush().stems)
        return array.restore(np.concatenate(parts, axis=-1))

    @overload
    def stream(self, blocks: Iterable[NDArray[ScalarT]], sample_rate: int) -> Iterator[NDArray[ScalarT]]: ...
    @overload
    def stream(self, blocks: Iterable[torch.Tensor], sample_rate: int) -> Iterator[torch.Tensor]: ...
    def stream(self, blocks: Iterable[Array], sample_rate: int) -> Iterator[Array]:
        """Process blocks one after another. All outputs together last as long as all inputs together, at
        `output_rate(sample_rate)`.

        The first output comes when the whole warm-up has been fed: eight seconds for `denoise-16k`.
        `live` and `warm_up=False` do not wait. The warm-up begins with the first block; that of a file or an
        array may begin later, at its first sound.

        Args:
            blocks: each (time,) or (channels, time), all of one kind.
            sample_rate: Hz.
        Yields:
            Arrays of the same kind, as output becomes ready.
        Raises:
            InputError: as `__call__`, or `blocks` is a waveform.
        """
        sample_rate = in_whole_hertz(sample_rate)
        expected = (
            "stream takes an iterable of blocks, got {}: give the pipeline a whole waveform, or as [waveform]"
        )
        if hasattr(blocks, "ndim") or isinstance(blocks, str) or not isinstance(blocks, Iterable):
            raise InputError(expected.format(type(blocks).__name__))
        rest = iter(blocks)
        first = next(rest, None)
        if first is None:
            return
        if isinstance(first, Number):
            raise InputError(expected.format("one of numbers"))
        array = self._waveform(first)
        channels = array.block.shape[0]
        # The warm-up's blocks are kept as copies: the caller may reuse a block's memory for the next one.
        arrays = itertools.chain((array,), map(UserArray, rest))
        held: list[UserArray] = []

        def beginning() -> Iterator[Block]:
            for array in arrays:
                held.append(array)
                yield array.block

        chosen = self.at(sample_rate)
        measured = chosen._measure(beginning(), sample_rate, channels, whole=False)
        session = chosen._session(sample_rate, channels, self.settings, **measured)
        for array in itertools.chain(held, arrays):
            output = array.restore(session.feed(array.block).stems)
            if output.shape[-1]:
                yield output
        tail = array.restore(session.flush().stems)
        if tail.shape[-1]:
            yield tail

    def live(
        self, sample_rate: int, channels: int | None = None, state: StreamState | None = None
    ) -> LiveStream:
        """Begin a live stream, with output after every hop, or after `settings.chunk_seconds` where that is
        set.

        Args:
            sample_rate: Hz.
            channels: number of channels; None is 1, or that of the state.
            state: state of a stream to continue, with its settings; see `LiveStream.state`.
        Raises:
            StreamError: the state is of another checkpoint, engine, rate or number of channels, or damaged.
        """
        sample_rate = in_whole_hertz(sample_rate)
        chosen = self.at(sample_rate)
        if chosen is not self:
            return chosen.live(sample_rate, channels, state)
        if channels is not None:
            channels = whole_number(channels, "a stream has channels")
        if state is None:
            return LiveStream(
                self._session(sample_rate, channels or 1, self.settings), self.checkpoint_sha256
            )
        from audiotool.streaming.state import StreamState

        StreamState.expect(state)
        state.check(self.engine, self.checkpoint_sha256, sample_rate, channels)
        live = LiveStream(self._session(sample_rate, state.channels, state.settings), self.checkpoint_sha256)
        live.restore(state)
        return live

    def streams(self, capacity: int = 64) -> Streams:
        """Return `Streams`, in which many live streams are stepped together.

        A stream has the pipeline's settings unless it joins with others, and the model that `live` takes at
        its sample rate.

        Args:
            capacity: number of rows, from 1 to 100,000. A stream takes one row, or one a channel where the
                model takes single channels.
        Raises:
            StreamError: the model is not causal.
        """
        from audiotool.streaming.streams import Streams

        def session(sample_rate: int, channels: int, settings: Settings) -> tuple[Session, str]:
            sample_rate = in_whole_hertz(sample_rate)
            channels = whole_number(channels, "a stream has channels")
            chosen = self.at(sample_rate)
            return chosen._session(sample_rate, channels, settings), chosen.checkpoint_sha256

        capacity = whole_number(capacity, "a capacity is given in rows")
        return Streams(self.engine, capacity, session, self.settings)

    def enrol(self, recording: str | os.PathLike[str]) -> None:
        """Keep only the speaker of a recording from now on.

        Args:
            recording: a file with a second or more of that voice, of any sample rate. Several channels are
                mixed to one as in `audio.mono`.
        Raises:
            CheckpointError: the model takes no enrolment.
            InputError: the recording cannot be read, is too short, or silent.
        """
        enrolment = read_enrolment(recording, self.sample_rate)
        self.conditions = {**self.conditions, **self.engine.enrol(enrolment)}

    def process_file(
        self,
        source: str | os.PathLike[str],
        target: str | os.PathLike[str] | Target,
        progress: Progress | None = None,
        raw: Raw | None = None,
        f0: str | os.PathLike[str] | None = None,
    ) -> FileResult:
        """Process a file, "-" being standard input or output, in constant memory.

        Args:
            source: anything libsndfile reads; for a vocoder also a mel file (`.npy`, `.npz`, `.safetensors`),
                which becomes one channel at the model's rate, of 16 bits where the target has no subtype.
            target: a path for a model of one stem, else a `Target`. Sample rate (but see `Settings.widens`),
                channels, length and subtype are the input's.
            progress: called after every block.
            raw: format of bare samples in pipes, and in inputs that are named as such; None is WAV. With
                bare samples, output comes after every hop, as from `live`.
            f0: `.npy` with F0 in Hz a frame, for vocoders that take it, where a mel file has no row for it.
        Raises:
            InputError: the input cannot be read, or an output cannot be written or would replace an input;
                nothing is left behind. Or F0 is given for a recording, in which it is tracked.
            CheckpointError: the input is a mel file, and the model takes waveforms alone.
        """
        source = local_path(source)
        target = target if isinstance(target, Target) else local_path(target)
        f0 = None if f0 is None else local_path(f0)
        if is_mel_name(source):
            from audiotool.files.features import vocode_file

            chunk = self.settings.chunk_seconds
            with self._naming_another_model():
                return vocode_file(self.engine, source, target, progress, f0, chunk, raw)
        if f0 is not None:
            raise InputError(f"{source} is a recording, in which F0 is tracked: f0 belongs to mel files")

        return process_file(self.open, self.stems, source, target, progress, raw)

    @overload
    def vocode(self, mel: NDArray[ScalarT], f0: Array | None = None) -> NDArray[ScalarT]: ...
    @overload
    def vocode(self, mel: torch.Tensor, f0: Array | None = None) -> torch.Tensor: ...
    def vocode(self, mel: Array, f0: Array | None = None) -> Array:
        """Turn a mel spectrogram into a waveform at the model's sample rate.

        Args:
            mel: (n_mels, frames) or (1, n_mels, frames), floating point, numpy or torch, as the vocoder
                expects it; or the features of its codec.
            f0: (frames,) in Hz, 0 where unvoiced, floating point, for vocoders that take it, unless it is
                the mel's last row.
        Returns:
            (time,), of the mel's type, dtype and device.
        Raises:
            CheckpointError: the model is no vocoder.
            InputError: the array does not fit this vocoder. The message names the difference, and a model
                or presets that fit.
        """
        from audiotool.files.features import vocode_array

        track, chunk = None if f0 is None else values_of(f0), self.settings.chunk_seconds
        with self._naming_another_model():
            return as_kind_of(mel, vocode_array(self.engine, values_of(mel), track, chunk))

    @contextlib.contextmanager
    def _naming_another_model(self) -> Iterator[None]:
        """Name the bundled vocoder whose mel a mel is, if there is one, where it is not this one's."""
        from audiotool.dsp.mel import OtherMel, mel_config

        try:
            yield
        except OtherMel as error:
            fits = error.fits
            name = named_checkpoints.bundled_for(
                self.task, lambda other: fits(mel_config(other.model["config"]["mel"]))
            )
            if name is None:
                raise
            raise InputError(f"{error.difference}; use the model {name}") from error

    def _waveform(self, waveform: Array) -> UserArray:
        """Return a user's waveform; a vocoder's mel is refused, whose bands would pass for channels."""
        array = UserArray(waveform)
        mel = self.engine.vocoder.mel if isinstance(self.engine, CopySynthesis) else None
        if mel is not None and len(array.block) == mel.n_mels:
            raise InputError(
                f"{mel.n_mels} rows are as many as this vocoder's mel has bands, and would be so many"
                " channels here: Pipeline.vocode takes mels"
            )
        return array

    def open(self, sample_rate: int, channels: int, blocks: Blocks | None, live: bool = False) -> Opened:
        """Open the stream of a whole recording, after its first pass; see `files.waveforms.Opener`."""
        if (chosen := self.at(sample_rate)) is not self:
            return chosen.open(sample_rate, channels, blocks, live)
        seconds, together = (PIPE_CHUNK_SECONDS, 1) if blocks is None else (FILE_CHUNK_SECONDS, channels)
        settings = self.settings if live and self.engine.causal else self._with_chunk(seconds, together)
        size = max(1, round((settings.chunk_seconds or FILE_CHUNK_SECONDS) * sample_rate))
        measured = {} if blocks is None else self._measure(blocks(size), sample_rate, channels)
        session = self._session(sample_rate, channels, settings, **measured)
        bands = measured.get("bandwidth_hz")
        widest = settings.bandwidth_hz if bands is None else float(bands.max())
        remarks = bandwidths.remarks_on(bands, sample_rate, self.engine, self.task, settings)
        return Opened(session, size, widest, tuple(remarks))

    def _session(self, sample_rate: int, channels: int, settings: Settings, **measured: Any) -> Session:
        if is_vocoder(self.engine):
            mel_of(self.engine)
        if settings.widens:
            settings = dataclasses.replace(settings, follow_removal=False)
        conditions = {
            **self.conditions,
            **measured,
            **self._bandwidth_condition(sample_rate, settings, measured),
        }
        return Session(self.engine, sample_rate, channels, settings, **conditions)

    def _bandwidth_condition(
        self, sample_rate: int, settings: Settings, measured: dict[str, Any]
    ) -> dict[str, Any]:
        """Return the condition `bandwidth_hz` of the model's input, if it is known.

        Raises:
            StreamError: the settings have a bandwidth, but the model extends none.
        """
        given = settings.bandwidth_hz
        if given is not None and self.engine.extends_from_hz is None:
            raise StreamError(f"{self.engine.name} extends no band: a bandwidth says nothing to it")
        bands = measured.get("bandwidth_hz") if given is None else given
        if bands is None:
            return {}
        return {"bandwidth_hz": bandwidths.edges_of(bands, sample_rate, self.engine, settings)}

    def _with_chunk(self, seconds: float, channels: int) -> Settings:
        """Return the settings with `chunk_seconds` of so much audio, unless the user has set it.

        The channels share the chunk, because they are rows of one step and share memory and caches. A model
        that is not causal keeps its own segments, each of which needs context.
        """
        if self.settings.chunk_seconds is not None:
            return self.settings
        together = channels if self.engine.causal else 1
        return dataclasses.replace(self.settings, chunk_seconds=seconds / together)

    def _measure(
        self, blocks: Iterator[Block], sample_rate: int, channels: int, whole: bool = True
    ) -> dict[str, Any]:
        """Run the first pass over a recording, as far as needed; return the conditions for its streams."""
        warm_up, is_given = self.settings.warm_up, self.settings.bandwidth_hz is not None
        first_pass = FirstPass(self.engine, sample_rate, channels, warm_up, whole, not is_given)
        while not first_pass.complete and (block := next(blocks, None)) is not None:
            first_pass.feed(block)
        return first_pass.conditions()


def _once(function: Callable[[], Pipeline]) -> Callable[[], Pipeline]:
    """Return a function that calls another one once; all callers get its result, or wait for it."""
    lock, cached = threading.Lock(), functools.cache(function)

    def once() -> Pipeline:
        with lock:
            return cached()

    return once
