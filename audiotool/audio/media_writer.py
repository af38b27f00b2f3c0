"""Write sound as MP4, M4A, MOV, MKV and WebM by PyAV, beside the film of the recording that it comes from.

Films, subtitles and covers are copied as they are coded, in the order of their times, so that memory stays
constant. The sound is coded anew, as AAC, in WebM as Opus.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from audiotool.audio.formats import SOUND_ALONE, chosen_ending, format_for, subtype_for
from audiotool.audio.levels import FloatBlock, limit
from audiotool.audio.media import OF_THE_FILE, TAGS, is_cover, open_container
from audiotool.audio.writer import OutputFormat, ReplacingWriter
from audiotool.errors import InputError

ENCODERS = {"AAC": "aac", "OPUS": "libopus"}
"""Codings -> FFmpeg's names of their encoders."""

LAYOUTS = ("mono", "stereo", "3.0", "4.0", "5.0", "5.1", "6.1")
"""FFmpeg's names of the speakers of so many channels."""

CHANNEL_BITRATE = 96_000
"""Bits a second of a channel of AAC; FFmpeg's usual rate is the same for all numbers of channels."""

FRAME_BITS, FRAME_SAMPLES = 6144, 1024
"""Greatest number of bits, and the samples, of a channel in a frame of AAC (ISO/IEC 14496-3)."""

COVERS_IN = ("mp4", "mov")
"""Formats in which a cover is a stream of one picture."""

COVER_CODECS = ("mjpeg", "png", "bmp")


class MediaWriter(ReplacingWriter):
    """A media file: the sound that is written, and the pictures of another file.

    Args:
        path: path of the output.
        wanted: its format; `dropped` names what of the input the container cannot hold.
    Raises:
        InputError: the file cannot be written, or the container does not hold the sound or the pictures.
    """

    def __init__(self, path: str | Path, wanted: OutputFormat) -> None:
        super().__init__(path)
        self.format = format_for(self.path, wanted.asked_format)
        ending = chosen_ending(self.path, wanted.asked_format).lower()
        self.subtype = subtype_for(
            self.format, ending, wanted.subtype, wanted.asked_subtype, wanted.sample_rate
        )
        if wanted.channels > len(LAYOUTS):
            raise InputError(f"cannot write {path}: {self.subtype} holds at most {len(LAYOUTS)} channels")
        self._layout, self._rate = LAYOUTS[wanted.channels - 1], wanted.sample_rate
        with contextlib.ExitStack() as opened:
            self._begin()
            opened.callback(self._replacement.discard)
            try:
                is_m4a = self.format == "mp4" and ending in SOUND_ALONE
                options = {"brand": "M4A "} if is_m4a else {}
                self._container = av.open(self._replacement.file, "w", format=self.format, options=options)
                opened.callback(self._close_container)
                film = Film(wanted.film, self._container, ending not in SOUND_ALONE)
                self._film = opened.enter_context(film)
                self._sound = self._sound_stream(wanted)
                self._container.metadata.update(self._film.tags if wanted.film else _tags(wanted.tags))
                self._container.start_encoding()
            except (av.error.FFmpegError, ValueError, OSError) as error:
                raise self._failure(error) from error
            lost = wanted.extras.split(self.format, wanted.channels)[1]
            self.dropped = self._film.dropped if wanted.film else lost
            self._opened = opened.pop_all()

    def _sound_stream(self, wanted: OutputFormat) -> Any:
        encoder = ENCODERS[self.subtype]
        rates = sorted(av.codec.Codec(encoder, "w").audio_rates or [wanted.sample_rate])
        # The encoder's frames are resampled where the codec has not this rate.
        rate = next((rate for rate in rates if rate >= wanted.sample_rate), rates[-1])
        stream: Any = self._container.add_stream(encoder, rate=rate, layout=self._layout)
        if wanted.bitrate is not None:
            stream.bit_rate = round(1000 * wanted.bitrate)
        elif self.subtype == "AAC":
            stream.bit_rate = wanted.channels * min(CHANNEL_BITRATE, FRAME_BITS * rate // FRAME_SAMPLES)
        return stream

    def _put(self, block: FloatBlock) -> None:
        data, beyond = limit(block)
        self.limited += beyond
        planes = np.ascontiguousarray(data.T, np.float32)
        frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=self._layout)
        frame.sample_rate, frame.time_base = self._rate, Fraction(1, self._rate)
        frame.pts = self.frames - len(block)
        try:
            self._film.copy(self.frames / self._rate)
            self._container.mux(self._sound.encode(frame))
        except (av.error.FFmpegError, ValueError, OSError) as error:
            raise self._failure(error) from error

    def prepare(self) -> None:
        if self._prepared:
            return
        try:
            self._film.copy(math.inf)
            self._container.mux(self._sound.encode(None))
            self._container.close()
        except (av.error.FFmpegError, ValueError, OSError) as error:
            raise self._failure(error) from error
        self._prepared = True

    def _close_container(self) -> None:
        # The output is discarded, so errors at its end are ignored.
        with contextlib.suppress(av.error.FFmpegError, ValueError, OSError):
            self._container.close()

    def close(self) -> None:
        self._opened.close()


class Film:
    """The pictures, subtitles, chapters and tags of a file, which are copied into another.

    Args:
        path: the file; None copies nothing.
        target: the open container.
        shows: whether the target is to hold the film, or its cover alone.
    Attributes:
        tags: title, artist and others, by FFmpeg's names.
        dropped: names of what the target does not hold, for the user.
    Raises:
        ValueError: the target's format does not hold films of this coding.
    """

    def __init__(self, path: Path | None, target: Any, shows: bool) -> None:
        self.tags: dict[str, str] = {}
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
            codec = stream.codec_context.name if stream.codec_context else "unknown"
            if is_cover(stream):
                fits = codec in COVER_CODECS and target.format.name in COVERS_IN
            else:
                fits = codec in target.supported_codecs
            if not fits and is_cover(stream):
                self.dropped.append("picture")
            elif not fits and stream.type == "subtitle":
                self.dropped.append("subtitles")
            elif not fits:
                raise ValueError(f"{target.format.name} holds no film coded as {codec}; .mkv holds all")
            else:
                self._copies[stream.index] = self._copy_of(stream)
        self.tags = {k: v for k, v in source.metadata.items() if k.lower() not in OF_THE_FILE}
        if source.chapters():
            target.set_chapters(source.chapters())
        if self._copies:
            self._packets = source.demux([source.streams[index] for index in self._copies])

    def _copy_of(self, stream: Any) -> Any:
        copy = self._target.add_stream_from_template(stream)
        copy.disposition = stream.disposition
        if "language" in stream.metadata:
            copy.metadata["language"] = stream.metadata["language"]
        return copy

    def copy(self, until_s: float) -> None:
        """Copy the packets up to a time in seconds."""
        while (packet := self._next) is not None:
            # A packet without data ends a stream. That of a cover has no time.
            if packet.dts is not None and packet.dts * packet.time_base - self._begin > until_s:
                return
            if packet.size:
                self._mux(packet)
            self._next = next(self._packets, None)

    def _mux(self, packet: Any) -> None:
        shift = round(self._begin / packet.time_base)
        packet.dts = 0 if packet.dts is None else packet.dts - shift
        packet.pts = packet.dts if packet.pts is None else packet.pts - shift
        packet.stream = self._copies[packet.stream.index]
        self._target.mux(packet)

    def __enter__(self) -> Film:
        return self

    def __exit__(self, *exception: object) -> None:
        self._opened.close()


def _tags(tags: Any) -> dict[str, str]:
    """Return tags by libsndfile's names as tags by FFmpeg's."""
    names = {ours: theirs for theirs, ours in TAGS.items()}
    return {names[name]: text for name, text in tags.items() if name in names}
