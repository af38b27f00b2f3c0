"""Vocode files of features, and write the mels of recordings.

    vocode_file(engine, "mel.npy", "out.wav")
    vocode_array(engine, mel)
    MelAnalysis("hifigan-22k").process_file("in.wav", "mel.safetensors")

Both work a few seconds at a time, in constant memory.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiotool.audio.mel_file import FeatureReader, Features, MelWriter, check_f0, read_f0
from audiotool.audio.raw import Raw
from audiotool.audio.reader import AudioReader
from audiotool.audio.target import Target
from audiotool.audio.writer import OutputFormat
from audiotool.dsp.mel import (
    MelConfig,
    StreamingMel,
    advice_for,
    check_definition,
    check_mel,
    differences,
    mel_config,
)
from audiotool.engines.base import Engine
from audiotool.engines.copy_synthesis import CopySynthesis, is_vocoder, mel_of, takes_mel
from audiotool.errors import AudiotoolError, CheckpointError, InputError
from audiotool.files.outputs import check_apart, open_output
from audiotool.files.processor import (
    FILE_CHUNK_SECONDS,
    FileProcessor,
    FileResult,
    Process,
    Written,
)
from audiotool.progress import Progress
from audiotool.streaming.downmix import StreamingDownmix
from audiotool.streaming.make import make_streamer
from audiotool.streaming.resample import StreamingResampler


def vocoder_of(engine: Engine) -> Engine:
    """Return the vocoder inside a copy synthesis.

    Raises:
        CheckpointError: the engine takes waveforms alone.
    """
    found = engine.vocoder if isinstance(engine, CopySynthesis) else engine
    if not is_vocoder(found):
        raise CheckpointError(f"{engine.name} takes a waveform, not a mel")
    return found


def vocode_file(
    engine: Engine,
    source: str | Path,
    target: str | Path | Target,
    progress: Progress | None = None,
    f0: str | Path | None = None,
    chunk_seconds: float | None = None,
    raw: Raw | None = None,
) -> FileResult:
    """Turn a file of features into a recording at the vocoder's rate.

    Args:
        engine: a vocoder, or its copy synthesis.
        source: `.npy`, `.npz` or `.safetensors`, see `audio.mel_file`.
        f0: `.npy` with F0 in Hz a frame, for vocoders that take it, where the file has no row for it.
        progress: called after every block, in output samples.
        chunk_seconds: output of one step in seconds; None is ten.
        raw: format of bare samples for standard output; None is WAV.
    Raises:
        CheckpointError: the engine takes waveforms alone.
        InputError: the file does not fit this vocoder. The message names the difference, and presets that
            fit. Or the output is the file, or that of F0.
    """
    began = time.monotonic()
    goal = target if isinstance(target, Target) else Target((target,))
    if goal.residual is not None:
        raise InputError("a mel has no residual: the input's samples are not known")
    if len(goal.stems) != 1:
        raise InputError(f"a mel gives one output, got the paths of {len(goal.stems)}")
    check_apart(goal, source, f0)
    vocoder = vocoder_of(engine)
    chunk = _frames(vocoder, chunk_seconds)
    with FeatureReader(source, _rows(vocoder, f0 is not None)) as reader:
        _check(reader, vocoder, f0 is not None)
        track = None if f0 is None else read_f0(f0, reader.shape[1])
        length = vocoder.output_length(reader.shape[1])
        wanted = OutputFormat(
            vocoder.sample_rate,
            1,
            asked_format=goal.format,
            asked_subtype=goal.subtype,
            frames=length,
            bitrate=goal.bitrate,
        )
        with open_output(goal.stems[0], wanted, raw) as writer:
            for samples in _vocoded(vocoder, reader, track, chunk):
                writer.write(samples.T)
                if progress is not None:
                    progress(writer.frames, length)
    return FileResult(
        sample_rate=vocoder.sample_rate,
        channels=1,
        seconds=length / vocoder.sample_rate,
        elapsed_s=time.monotonic() - began,
        outputs=(Written(writer.peak, writer.limited),),
        warnings=tuple(filter(None, (writer.resampled, writer.excess))),
    )


def vocode_array(
    engine: Engine,
    features: NDArray[Any],
    f0: NDArray[Any] | None = None,
    chunk_seconds: float | None = None,
) -> NDArray[np.float32]:
    """Turn features (rows, frames) into a waveform (time,) at the vocoder's rate.

    Args:
        engine: a vocoder, or its copy synthesis.
        features: as `audio.mel_file.Features`.
        f0: (frames,) in Hz, 0 where unvoiced, for vocoders that take it, where the features have no row for
            it.
        chunk_seconds: output of one step in seconds; None is ten.
    Raises:
        CheckpointError: the engine takes waveforms alone.
        InputError: as `vocode_file`.
    """
    vocoder = vocoder_of(engine)
    if not np.issubdtype(features.dtype, np.floating):
        raise InputError(f"a mel is floating point, got {features.dtype}")
    source = Features(features, _rows(vocoder, f0 is not None), "the mel")
    _check(source, vocoder, f0 is not None)
    track = None if f0 is None else check_f0(f0, source.shape[1], "f0")
    blocks = _vocoded(vocoder, source, track, _frames(vocoder, chunk_seconds))
    return np.concatenate(list(blocks), axis=-1)[0]


def _frames(vocoder: Engine, seconds: float | None) -> int:
    """Return how many frames make so many seconds of output; None is ten."""
    return max(1, round((seconds or FILE_CHUNK_SECONDS) * vocoder.sample_rate / vocoder.upsampling))


def _rows(vocoder: Engine, has_track: bool) -> tuple[int, ...]:
    """Return the numbers of rows that features for this vocoder may have, with F0 beside them or without."""
    wanted = vocoder.input_channels
    return (wanted - 1,) if vocoder.uses_f0 and has_track else (wanted, wanted - vocoder.uses_f0)


def _check(reader: Features, vocoder: Engine, has_track: bool) -> None:
    """Check that features fit the vocoder, with F0 beside them or without."""
    if has_track and not vocoder.uses_f0:
        raise InputError(f"{reader.name}: this {vocoder.name} takes no F0: leave it out")
    bands, frames = reader.shape
    if not takes_mel(vocoder):
        if bands != vocoder.input_channels:
            expected = f"this {vocoder.name} takes {vocoder.input_channels} features of a codec"
            raise InputError(f"{reader.name} has {bands} rows: {expected}{advice_for(bands)}")
        reader.range(bands)
        return
    mel = mel_of(vocoder)
    if reader.definition is not None:
        check_definition(reader.definition, mel, reader.name)
    has_f0 = vocoder.uses_f0 and not has_track and bands == mel.n_mels + 1
    if not has_f0 and bands != mel.n_mels:
        # The number of bands is checked before the values, because its message says more.
        check_mel(reader.shape, 0.0, 0.0, mel, reader.name)
    if vocoder.uses_f0 and not has_f0 and not has_track:
        raise InputError(
            f"{reader.name} holds {bands} bands and no F0, which this {vocoder.name} needs: give"
            f" --f0 FILE.npy (in Python f0), or {bands + 1} rows whose last is F0 in Hz"
        )
    low, high = reader.range(mel.n_mels)
    check_mel((mel.n_mels, frames), low, high, mel, reader.name)


def _vocoded(vocoder: Engine, features: Features, track: Any, chunk: int) -> Iterator[NDArray[np.float32]]:
    """Yield the waveform (1, time) of features, a chunk of frames at a time."""
    streamer = make_streamer(vocoder, chunk)
    for block in _with_f0(features, track, chunk):
        yield streamer.feed(block[None])[0]
    yield streamer.flush()[0]


def _with_f0(reader: Features, track: Any, frames: int) -> Iterator[np.ndarray[Any, Any]]:
    """Yield blocks (rows, frames) of features, with the track of F0 as last row if there is one."""
    position = 0
    for block in reader.blocks(frames):
        if track is None:
            yield block
        else:
            yield np.concatenate((block, track[:, position : position + block.shape[1]]))
        position += block.shape[1]


@dataclass(frozen=True)
class MelAnalysis(FileProcessor):
    """Recordings to mel files.

    Args:
        definition: a preset's name, plain values or a MelConfig.
        raw: format of bare samples in pipes, and in inputs that are named as such; None is WAV.
        made_by: provenance of the checkpoint that defines the mel, for reports; empty for any other.
    Raises:
        CheckpointError: the definition is unknown or malformed.
    """

    definition: str | Mapping[str, Any] | MelConfig
    raw: Raw | None = None
    made_by: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "definition", mel_config(self.definition))

    def open(self, threads: int | None = None) -> Process:
        return lambda inputs, target, progress: self.process_file(inputs[0], target, progress)

    def provenance(self) -> dict[str, Any]:
        nothing = {"model": None, "checkpoint_sha256": None, "licence": None}
        settings = {"mel": dataclasses.asdict(mel_config(self.definition))}
        return {**nothing, **self.made_by, "settings": settings}

    def differences(self, target: Target) -> list[str]:
        wanted = mel_config(self.definition)
        found: list[str] = []
        for place in target.paths:
            try:
                with FeatureReader(place, (wanted.n_mels,)) as reader:
                    bands, definition = reader.shape[0], reader.definition
            except AudiotoolError as error:
                found.append(str(error))
                continue
            wrong = [] if bands == wanted.n_mels else [f"n_mels {bands} against {wanted.n_mels}"]
            wrong = wrong if definition is None else differences(definition, wanted)
            if wrong:
                found.append(f"{place} is another mel than what is asked for: {', '.join(wrong)}")
        return found

    def process_file(
        self, source: str | Path, target: str | Path | Target, progress: Progress | None = None
    ) -> FileResult:
        """Write the mel of a recording, mixed to mono as in `streaming.downmix` and resampled to the
        definition's sample rate.

        Args:
            source: path of a recording, or "-".
            target: `.npy`, `.npz` or `.safetensors`.
            progress: called after every block, in input samples.
        Raises:
            InputError: the input cannot be read, or the output cannot be written, or is the input.
        """
        began = time.monotonic()
        goal = target if isinstance(target, Target) else Target((target,))
        check_apart(goal, source)
        analysis = StreamingMel(self.definition)
        mel = analysis.config
        with AudioReader(source, raw=self.raw) as reader, MelWriter(goal.stems[0], mel) as writer:
            info = reader.info
            resampler = StreamingResampler(info.sample_rate, mel.sample_rate, 1)
            downmix = StreamingDownmix(info.channels, ahead=True)
            state: Any = None
            done = 0

            def advance(waveform: np.ndarray[Any, Any], final: bool) -> None:
                nonlocal state
                frames, state = analysis.step(np.array(waveform, dtype=np.float32), state, final)
                writer.write(frames[0])

            for block in reader.blocks(round(FILE_CHUNK_SECONDS * info.sample_rate)):
                done += len(block)
                advance(resampler.feed(downmix.feed(block.T)), final=False)
                if progress is not None:
                    progress(done, reader.expected_frames)
            advance(resampler.feed(downmix.flush()), final=False)
            advance(resampler.flush(), final=True)
            if not writer.frames:
                shortest = f"{mel.shortest} samples at {mel.sample_rate} Hz"
                seconds = f"{mel.shortest / mel.sample_rate:.2g} s"
                raise InputError(f"{reader.name} is too short for a frame of the mel: {shortest}, {seconds}")
        several = f"{info.channels} channels were averaged: a mel has one"
        if downmix.remark is not None:
            several = f"a mel has one channel, and {downmix.remark}"
        return FileResult(
            sample_rate=info.sample_rate,
            channels=info.channels,
            seconds=done / info.sample_rate,
            elapsed_s=time.monotonic() - began,
            outputs=(Written(reader.peak, 0),),
            input_peak=reader.peak,
            warnings=(*reader.warnings, *([several] if info.channels > 1 else [])),
        )
