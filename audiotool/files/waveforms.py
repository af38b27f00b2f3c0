"""Process one recording through one stream into one recording a stem."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from audiotool.arrays import Block
from audiotool.audio import PIPE
from audiotool.audio.formats import preferred_subtype, shows_video
from audiotool.audio.reader import AudioInfo, AudioReader
from audiotool.audio.target import Target
from audiotool.audio.writer import OutputFormat, Writer
from audiotool.errors import InputError
from audiotool.files.outputs import check_apart, open_output
from audiotool.files.processor import FileResult, Written
from audiotool.progress import Progress
from audiotool.streaming.session import Output, Session

if TYPE_CHECKING:
    from audiotool.audio.raw import Raw

Blocks = Callable[[int], Iterator[Block]]
"""Function that reads a recording from its beginning as blocks (channels, time) of the given size in
samples."""


class Opened(NamedTuple):
    """A stream that is ready for one recording.

    Args:
        session: processes the recording.
        size: input samples to feed at a time.
        bandwidth_hz: highest frequency at which the recording has content; None where it was not measured.
        remarks: results of the first pass, for the user.
    """

    session: Session
    size: int
    bandwidth_hz: float | None = None
    remarks: tuple[str, ...] = ()


class Opener(Protocol):
    """Opens the stream of a recording; `blocks` is None where the recording can be read only once.

    With `live`, output comes after every hop.
    """

    def __call__(
        self, sample_rate: int, channels: int, blocks: Blocks | None, live: bool = False
    ) -> Opened: ...


def process_file(
    opener: Opener,
    stems: Sequence[str],
    source: str | Path,
    target: str | Path | Target,
    progress: Progress | None = None,
    raw: Raw | None = None,
) -> FileResult:
    """Process a file, "-" being standard input or output, in constant memory.

    Args:
        opener: opens the stream.
        stems: names of the stream's outputs.
        source: path of a recording, or "-".
        target: a path for one stem, else a `Target`.
        progress: called after every block, in input samples.
        raw: format of bare samples in pipes, and in inputs that are named as such; None is WAV.
    Raises:
        InputError: the input cannot be read, an output cannot be written, is the input or another output;
            nothing is left behind.
    """
    began = time.monotonic()
    goal = target if isinstance(target, Target) else Target((target,))
    if len(goal.stems) != len(stems):
        raise InputError(f"this model has {len(stems)} outputs ({', '.join(stems)}): name as many")
    check_apart(goal, source)
    with AudioReader(source, raw=raw) as reader:
        info = reader.info
        opened = opener(
            info.sample_rate,
            info.channels,
            None if reader.is_pipe else lambda size: _blocks_of(source, size, raw),
            live=reader.is_pipe and raw is not None,
        )
        session = opened.session
        pictures = list(_remarks_on_pictures(reader, goal))
        with contextlib.ExitStack() as stack:
            writers = _open_writers(goal, reader, session, stack, raw)
            done = 0
            for block in reader.blocks(opened.size):
                _write(session.feed(block.T), writers)
                done += len(block)
                if progress is not None:
                    progress(done, reader.expected_frames)
            _write(session.flush(), writers)
            # Several outputs appear together: no operation that may fail comes between their renames.
            for writer in writers:
                writer.prepare()
    return FileResult(
        sample_rate=info.sample_rate,
        channels=info.channels,
        seconds=done / info.sample_rate,
        elapsed_s=time.monotonic() - began,
        outputs=tuple(Written(w.peak, w.limited) for w in writers),
        input_peak=reader.peak,
        bandwidth_hz=opened.bandwidth_hz,
        warnings=(
            *reader.warnings,
            *opened.remarks,
            *pictures,
            *remarks_on_outputs(writers, info, session.output_rate),
        ),
    )


def _blocks_of(source: str | Path, size: int, raw: Raw | None) -> Iterator[Block]:
    """Yield blocks (channels, size) of a file, which is opened for the first block."""
    with AudioReader(source, raw=raw) as reader:
        yield from (block.T for block in reader.blocks(size))


def _open_writers(
    goal: Target, reader: AudioReader, session: Session, stack: contextlib.ExitStack, raw: Raw | None
) -> list[Writer]:
    info = reader.info
    rate, channels = session.output_rate, session.output_channels
    announced = reader.announced_frames
    frames = None if announced is None else -(-announced * rate // info.sample_rate)
    if goal.residual is not None and rate != info.sample_rate:
        raise InputError("a residual needs an output of the input's sample rate")
    if reader.has_video and reader.is_pipe and any(shows_video(Path(p), goal.format) for p in goal.places):
        raise InputError("the video of a pipe cannot be copied: name the file, or end the output in .m4a")
    wanted = format_like(reader, rate, channels)._replace(
        asked_format=goal.format,
        asked_subtype=goal.subtype,
        frames=frames,
        bitrate=goal.bitrate,
        video=reader.video,
    )
    writers = [stack.enter_context(open_output(path, wanted, raw)) for path in goal.places]
    for writer in writers:
        writer.model = f"the model '{session.engine.name}'"
    return writers


def format_like(reader: AudioReader, rate: int, channels: int) -> OutputFormat:
    """Return the format of an output of the rate in Hz that keeps what it can of an input, which is open:
    sample format, tags and extras."""
    info = reader.info
    return OutputFormat(
        rate,
        channels,
        preferred_subtype(info.subtype, info.sample_rate, rate),
        tags=reader.tags,
        extras=reader.extras.after(rate == info.sample_rate, channels == info.channels),
    )


def remarks_on_outputs(writers: Sequence[Writer], info: AudioInfo, rate: int) -> Iterator[str]:
    """Yield in a line each what the outputs, of a stream of the rate in Hz, have not of the input."""
    names = list(dict.fromkeys(name for writer in writers for name in writer.dropped))
    if names:
        yield f"tags and chunks that the output does not keep: {', '.join(names)}"
    filled = max(writers, key=lambda writer: writer.filling)
    if filled.filling:
        added = f"{filled.filling} samples of silence were added at the end"
        yield f"{filled.subtype} holds whole blocks: {added}"
    yield from filter(None, dict.fromkeys(text for w in writers for text in (w.resampled, w.recoded)))
    loudest = max((w for w in writers if w.excess), key=lambda writer: writer.peak, default=None)
    if loudest is not None:
        yield loudest.excess
    preferred = preferred_subtype(info.subtype, info.sample_rate, rate)
    if preferred != info.subtype and writers[0].subtype == preferred:
        coded = f"{info.subtype} is a coding of speech at {info.sample_rate} Hz"
        yield f"{coded}: at {rate} Hz {preferred} is written"


def _remarks_on_pictures(reader: AudioReader, goal: Target) -> Iterator[str]:
    """Yield a line if a video, which is open, loses its pictures and the user has asked for no format."""
    if goal.format is not None or PIPE in goal.places or reader.video is None or not reader.has_video:
        return
    if not any(shows_video(Path(place)) for place in goal.places):
        ending = reader.video.suffix.lower() if shows_video(reader.video) else ".mkv"
        named = f"--format {ending[1:]}, or an output named {ending}"
        yield f"the sound alone is written: {named}, keeps the picture"


def _write(output: Output, writers: list[Writer]) -> None:
    """Write each stem, and then the residual, to its writer."""
    stems = output.stems
    for writer, stem in zip(writers, stems, strict=False):
        writer.write(stem.T)
    if len(writers) > len(stems):
        writers[-1].write((output.dry - stems.sum(0)).T)
