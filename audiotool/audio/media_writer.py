"""Write sound as MP4, M4A, MOV, MKV and WebM by PyAV, beside the video of the recording that it comes from.

Videos, subtitles and covers are copied as they are coded, in the order of their times, so that memory stays
constant. The sound is coded anew, as AAC, in WebM as Opus.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import av
import numpy as np

from audiotool.audio import speakers
from audiotool.audio.extras import MEASURED
from audiotool.audio.formats import (
    bitrate_range,
    check_bitrate,
    coding_for,
    shows_video,
)
from audiotool.audio.levels import FloatBlock, limit
from audiotool.audio.media import OF_THE_FILE, TAGS, disposition, is_cover, open_container
from audiotool.audio.writer import OutputFormat, ReplacingWriter, resampling

ENCODERS = {"AAC": "aac", "OPUS": "libopus"}
"""Codings -> FFmpeg's names of their encoders."""

LAYOUTS = ("mono", "stereo", "3.0", "4.0", "5.0", "5.1", "6.1", "7.1")
"""FFmpeg's names of the speakers of so many channels, where the input does not say."""

UNNAMED = " channels"
"""How FFmpeg's name of a number of channels ends of which no speakers are known ("2 channels")."""

CODED_AS = {"5.0(side)": "5.0", "5.1(side)": "5.1"}
"""Speakers that AAC has no name for -> those of the same order that it has."""

OF_OPUS = ("mono", "stereo", "5.1")
"""Those whose order Opus keeps in Matroska."""

CHANNEL_KBPS = 96
"""kbit/s of a channel of AAC; FFmpeg's usual rate is the same for all numbers of channels."""

QUICKTIME = ("mp4", "mov")
"""Formats with an index and with edits, which cut pictures off; a cover is a stream of one picture."""

COVER_CODECS = ("mjpeg", "png", "bmp")
"""Codings of covers there."""

KEPT = {"language", "creation_time"}
"""Tags of `OF_THE_FILE` that an output takes from its input."""

OF_PHONES = "com.apple.quicktime."
"""How names of tags begin that a MOV holds in a list of its own, in which all of its tags are then: the place
and the make of a phone's video."""

Answer = TypeVar("Answer")


class MediaWriter(ReplacingWriter):
    """A media file: the sound that is written, and the pictures of another file.

    Args:
        path: path of the output.
        wanted: its format; `dropped` names what of the input the container cannot hold.
    Raises:
        InputError: the file cannot be written, or the container does not hold the sound or the video.
    """

    failures = (av.error.FFmpegError, ValueError, OSError)

    def __init__(self, path: str | Path, wanted: OutputFormat) -> None:
        super().__init__(path)
        self.format, self.subtype = coding_for(
            self.path, wanted.asked_format, wanted.subtype, wanted.asked_subtype
        )
        shows = shows_video(self.path, wanted.asked_format)
        self._rate, self._coded_rate = wanted.sample_rate, _coded_rate(self.subtype, wanted.sample_rate)
        self.resampled = resampling(self.subtype, self._rate, self._coded_rate)
        self._tags: dict[str, str] = {}
        with contextlib.ExitStack() as opened:
            self._begin()
            opened.callback(self._replacement.discard)
            file = self._file = Forgiving(self._replacement.file)
            with self._writing():
                options = _options(self.format, shows, self._coded_rate)
                # FFmpeg opens the file again to move the index.
                self._container = av.open(
                    file, "w", format=self.format, options=options, io_open=lambda *_: ReadBack(file)
                )
                opened.callback(self._close_container)
                remuxer = Remuxer(wanted.video, self._container, shows)
                self._remuxer = opened.enter_context(remuxer)
                self._layout = self._layout_of(wanted.channels)
                self._sound = self._sound_stream(wanted)
                self._sound.metadata.update(remuxer.sound_tags)
                self._tags = remuxer.tags if wanted.video else _tags(wanted.tags)
                self._container.metadata.update(self._tags)
                if self.format == "mov" and any(name.lower().startswith(OF_PHONES) for name in self._tags):
                    self._container.options["movflags"] += "+use_metadata_tags"
                self._container.start_encoding()
            lost = wanted.extras._replace(mask=0).split(self.format, wanted.channels)[1]
            if wanted.extras.mask not in (0, speakers.of_layout(self._layout)):
                lost.append(speakers.called(wanted.extras.mask))
            unknown = [name for name in wanted.tags if name not in TAGS.values()]
            if wanted.video:
                # Of tags and covers the remuxer knows what is kept; it sees no chunks, as of a WAV.
                self.dropped = [*remuxer.dropped, *(lost if wanted.extras.family else ())]
            else:
                self.dropped = [*lost, *unknown]
            self._opened = opened.pop_all()

    def _layout_of(self, channels: int) -> str:
        """Return FFmpeg's name of the channels' speakers.

        Raises:
            ValueError: the coding does not hold them.
        """
        layout = CODED_AS.get(self._remuxer.layout or "", self._remuxer.layout)
        if layout is None or av.AudioLayout(layout).nb_channels != channels:
            layout = LAYOUTS[channels - 1] if channels <= len(LAYOUTS) else f"{channels}{UNNAMED}"
        if channels > len(LAYOUTS) or (self.subtype == "OPUS" and layout not in OF_OPUS):
            raise ValueError(f"{self.subtype} does not hold {layout} here: choose .wav or .flac")
        return layout

    def _sound_stream(self, wanted: OutputFormat) -> Any:
        rate = self._coded_rate
        stream: Any = self._container.add_stream(ENCODERS[self.subtype], rate=rate, layout=self._layout)
        if wanted.bitrate is not None:
            check_bitrate(self.format, self.subtype, rate, wanted.channels, wanted.bitrate)
            stream.bit_rate = round(1000 * wanted.bitrate)
        elif self.subtype == "AAC":
            highest = bitrate_range(self.format, self.subtype, rate, wanted.channels)[1]
            stream.bit_rate = 1000 * min(CHANNEL_KBPS * wanted.channels, highest)
        return stream

    def _put(self, block: FloatBlock) -> None:
        data, beyond = limit(block)
        self.limited += beyond
        packed = np.ascontiguousarray(data, np.float32).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=self._layout)
        frame.sample_rate, frame.time_base = self._rate, Fraction(1, self._rate)
        frame.pts = self.frames - len(block)
        with self._writing():
            self._remuxer.copy(self.frames / self._rate)
            self._container.mux(self._sound.encode(frame))

    def _finish(self) -> None:
        with self._writing():
            self._remuxer.copy(math.inf)
            self._container.mux(self._sound.encode(None))
            if self.subtype == "AAC" and self.format not in QUICKTIME:
                # Matroska does not say how much of the last frame belongs to the recording.
                coded = -(-self.frames * self._coded_rate // self._rate)
                self.filling = -coded % self._sound.codec_context.frame_size
            self._container.close()
            if self._file.failure is None:
                self._note_lost_tags()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """As of any file; the first error of the file comes before what FFmpeg says of it later."""
        with super()._writing():
            try:
                yield
            except self.failures:
                if self._file.failure is None:
                    raise
            if self._file.failure is not None:
                raise self._file.failure

    def _note_lost_tags(self) -> None:
        """Read the file's tags back: FFmpeg does not say which of them a format does not hold."""
        self._replacement.file.seek(0)
        with open_container(self._replacement.file) as written:
            found = {name.lower() for name in written.metadata}
        self.dropped += [name for name in self._tags if name.lower() not in found]

    def _close_container(self) -> None:
        # The output is discarded, so errors at its end are ignored.
        with contextlib.suppress(*self.failures):
            self._container.close()

    def close(self) -> None:
        self._opened.close()


class Forgiving:
    """A file that keeps its first error, and from then on takes everything and writes nothing.

    FFmpeg goes on after an error, and PyAV prints the tracebacks of all that follow.

    Args:
        file: open for writing and reading.
    Attributes:
        failure: the first error; None while there is none.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.failure: OSError | None = None
        self._file = file
        self._position = file.tell()

    def write(self, data: bytes) -> int:
        """Write data, and return its size."""
        self._kept(lambda: self._file.write(data), len(data))
        self._position += len(data)
        return len(data)

    def read(self, size: int) -> bytes:
        """Return the next bytes; b"" at the end, and after an error."""
        data = self._kept(lambda: self._file.read(size), b"")
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Seek, and return the position."""
        pretended = offset if whence == os.SEEK_SET else self._position
        self._position = self._kept(lambda: self._file.seek(offset, whence), pretended)
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def _kept(self, call: Callable[[], Answer], pretended: Answer) -> Answer:
        if self.failure is None:
            try:
                return call()
            except OSError as error:
                self.failure = error
        return pretended


class ReadBack:
    """Reads a file that is being written, from its own position."""

    def __init__(self, file: Forgiving) -> None:
        self._file = file
        self._position = 0

    def read(self, size: int) -> bytes:
        """Return the next bytes; b"" at the end of what has been written."""
        position = self._file.tell()
        self._file.seek(self._position)
        data = self._file.read(size)
        self._position += len(data)
        self._file.seek(position)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move this reader alone."""
        position = self._file.tell()
        self._file.seek(self._position)
        self._position = self._file.seek(offset, whence)
        self._file.seek(position)
        return self._position

    def tell(self) -> int:
        """Return the position of this reader."""
        return self._position

    def close(self) -> None:
        """Leave the file open, which belongs to its writer."""


class Remuxer:
    """The video, subtitles, chapters and tags of a file, which are copied into another (remuxed).

    Args:
        path: the file; None copies nothing.
        target: the open container.
        shows: whether the target is to hold the video, or its cover alone.
    Attributes:
        tags, sound_tags: title, language and others of the file and of its sound, by FFmpeg's names.
        layout: FFmpeg's name of the speakers of its sound, None if it is not known.
        dropped: names of what the target does not hold, for the user.
    Raises:
        ValueError: the target's format does not hold videos of this coding.
    """

    def __init__(self, path: Path | None, target: Any, shows: bool) -> None:
        self.tags: dict[str, str] = {}
        self.sound_tags: dict[str, str] = {}
        self.layout: str | None = None
        self.dropped: list[str] = []
        self._target = target
        self._copies: dict[int, Any] = {}
        self._packets: Iterator[Any] = iter(())
        self._source: Any = None
        self._opened = contextlib.ExitStack()
        if path is not None:
            with contextlib.ExitStack() as opened:
                self._source = opened.enter_context(open_container(opened.enter_context(path.open("rb"))))
                self._take(shows)
                self._opened = opened.pop_all()
        self._next = next(self._packets, None)

    def _take(self, shows: bool) -> None:
        source, target = self._source, self._target
        self._begin = Fraction(source.start_time or 0, av.time_base)
        for stream in (*source.streams.video, *source.streams.subtitles):
            if not shows and not is_cover(stream):
                continue
            codec = stream.codec_context.codec.canonical_name if stream.codec_context else "unknown"
            if is_cover(stream):
                fits = codec in COVER_CODECS and target.format.name in QUICKTIME
            else:
                fits = codec in target.supported_codecs
            if fits:
                self._copies[stream.index] = self._copy_of(stream)
            elif is_cover(stream):
                self.dropped.append("picture")
            elif stream.type == "subtitle":
                self.dropped.append("subtitles")
            else:
                raise ValueError(
                    f"{target.format.name} holds no video coded as {codec}: try .mkv, .mp4 or .mov"
                )
        if shows and any(stream.type == "attachment" for stream in source.streams):
            self.dropped.append("attachments")
        sound = source.streams.audio[0]
        self.tags, self.sound_tags = _own(source.metadata), _own(sound.metadata)
        self.dropped += filter(MEASURED.fullmatch, (*source.metadata, *sound.metadata))
        layout = sound.codec_context.layout.name
        self.layout = None if layout.endswith(UNNAMED) else layout
        chapters = [_moved(chapter, self._begin) for chapter in source.chapters()]
        if chapters:
            target.set_chapters(chapters)
        if self._copies:
            self._packets = _timed(source.demux([source.streams[index] for index in self._copies]))

    def _copy_of(self, stream: Any) -> Any:
        copy = self._target.add_stream_from_template(stream, opaque=True)
        copy.disposition = disposition(stream)
        copy.metadata.update(_own(stream.metadata))
        if "mov" in self._source.format.name and self._target.format.name in QUICKTIME:
            # Without its tag (hvc1) some players do not play a video.
            copy.codec_context.codec_tag = stream.codec_context.codec_tag
        return copy

    def copy(self, until_s: float) -> None:
        """Copy the packets up to a time in seconds."""
        while (packet := self._next) is not None:
            # The packet of a cover has no time.
            if packet.dts is not None and packet.dts * packet.time_base - self._begin > until_s:
                return
            self._mux(packet)
            self._next = next(self._packets, None)

    def _mux(self, packet: Any) -> None:
        if packet.is_discard and self._target.format.name not in QUICKTIME:
            raise ValueError(
                "it would show pictures that were cut off the video's beginning: write .mp4 or .mov"
            )
        shift = round(self._begin / packet.time_base)
        packet.dts = 0 if packet.dts is None else packet.dts - shift
        packet.pts = packet.dts if packet.pts is None else packet.pts - shift
        packet.stream = self._copies[packet.stream.index]
        self._target.mux(packet)

    def __enter__(self) -> Remuxer:
        return self

    def __exit__(self, *exception: object) -> None:
        self._opened.close()


def _coded_rate(subtype: str, sample_rate: int) -> int:
    """Return the sample rate in Hz of a coding, to which the encoder's frames are resampled where it has not
    the wanted one."""
    rates = sorted(av.codec.Codec(ENCODERS[subtype], "w").audio_rates or [sample_rate])
    return next((rate for rate in rates if rate >= sample_rate), rates[-1])


def _options(format_name: str, shows: bool, coded_rate: int) -> dict[str, str]:
    """Return the options of FFmpeg's muxer, for sound of a sample rate in Hz."""
    if format_name not in QUICKTIME:
        return {}
    # With the index before the samples, a browser plays a file that it has not loaded to its end. The length
    # of the sound is in units of the movie, which are milliseconds unless something else is said.
    options = {"movflags": "+faststart", "movie_timescale": str(coded_rate)}
    return options if shows or format_name != "mp4" else options | {"brand": "M4A "}


def _timed(packets: Iterator[Any]) -> Iterator[Any]:
    """Yield the packets that hold data, with times of decoding, which a video in Matroska begins without."""
    early: dict[int, list[Any]] = {}
    for packet in packets:
        if not packet.size:
            continue
        waiting = early.setdefault(packet.stream.index, [])
        if packet.dts is None and packet.pts is not None:
            waiting.append(packet)
            continue
        at = packet.dts
        for before in reversed(waiting):
            at -= before.duration or 1
            before.dts = at
        yield from waiting
        waiting.clear()
        yield packet
    for waiting in early.values():
        yield from waiting


def _own(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the tags that are the recording's, and neither FFmpeg's nor measured; without empty ones."""
    own = {k: v for k, v in metadata.items() if k.lower() in KEPT or k.lower() not in OF_THE_FILE}
    return {k: v for k, v in own.items() if v.strip() and not MEASURED.fullmatch(k)}


def _moved(chapter: Any, begin_s: Fraction) -> Any:
    """Return a chapter that begins so much earlier."""
    shift = round(begin_s / chapter["time_base"])
    return {**chapter, "start": max(0, chapter["start"] - shift), "end": max(0, chapter["end"] - shift)}


def _tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Return tags by libsndfile's names as tags by FFmpeg's."""
    names = {ours: theirs for theirs, ours in TAGS.items()}
    return {names[name]: text for name, text in tags.items() if name in names}
