"""Read the sound of videos and of formats that libsndfile does not know: MP4, M4A, WebM, MKV, WMA, by PyAV.

PyAV contains FFmpeg's libraries; it is an optional dependency, the extra `media`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from audiotool import extras
from audiotool.audio import speakers
from audiotool.audio.extract import read_extras
from audiotool.audio.extras import CHUNKED, Extras, family_of
from audiotool.audio.forward import Damaged
from audiotool.audio.timeline import Timeline
from audiotool.errors import DependencyError, InputError
from audiotool.signals import deferred

REPAIR = extras.installing("--force-reinstall av")
DEMUXERS = "mov,matroska,aac,asf,avi,flv,mpegts,mpeg,ac3,eac3,amr,ape,wv,tta,wav,w64,ogg,caf,aiff"
"""FFmpeg's names of the formats that are tried. Playlists, which open other files and addresses, are not."""

TIMED = ("MOV", "MATROSKA", "ASF", "FLV", "MPEGTS", "MPEG")
"""Formats with timestamps of the frames. In others FFmpeg derives them from rates and numbers of frames."""

CLOCKED = ("MPEGTS", "MPEG")
"""Those that state no length: FFmpeg derives it from the first and the last timestamp."""

STATED = ("MATROSKA", "FLV")
"""Those whose header states a length in seconds, of the longest track."""

STATED_SLACK_S = 0.5
"""Seconds by which that length may be wrong: not all packets say how long they last."""

SUBTYPES = {
    "u8": "PCM_U8",
    "s16": "PCM_16",
    "s32": "PCM_24",
    "s64": "PCM_32",
    "flt": "FLOAT",
    "dbl": "DOUBLE",
}
"""Formats to which lossless codings are decoded -> libsndfile's sample formats. FFmpeg decodes 24 bits to 32,
and PyAV does not tell how many were coded."""

SILENCE_FRAMES = 4096
"""Greatest number of samples of silence that are made at a time: about a frame of a codec."""

TAGS = {
    "title": "title",
    "artist": "artist",
    "album": "album",
    "comment": "comment",
    "date": "date",
    "copyright": "copyright",
    "genre": "genre",
    "track": "tracknumber",
}
"""FFmpeg's names of tags -> libsndfile's."""

ATTACHED_PICTURE = 0x400
"""FFmpeg's flag of a stream that is a cover (AV_DISPOSITION_ATTACHED_PIC)."""

OF_THE_FILE = (
    *("major_brand", "minor_version", "compatible_brands", "creation_time", "encoder", "encoding_tool"),
    *("software", "handler_name", "vendor_id", "language", "duration", "bps", "number_of_frames"),
    "number_of_bytes",
)
"""Tags that FFmpeg adds itself, which are not those of the recording."""


def open_container(file: BinaryIO) -> Any:
    """Return FFmpeg's view of an open file, of the formats in `DEMUXERS`; its name is never interpreted."""
    import av

    return av.open(file, "r", container_options={"format_whitelist": DEMUXERS})


class UnknownFormat(Exception):
    """A file of an unknown format, or damaged; the message is FFmpeg's."""


class MediaFile:
    """The first sound track of a file, with the interface of `audio.forward.ForwardFile`.

    Samples that a codec adds before and after a recording are left out if the container has their number. A
    file with a picture begins where its first track does, so that its sound lies under the picture.

    Args:
        file: open for reading, at its beginning; it can seek, and is closed with this object.
        name: name in messages.
    Attributes:
        samplerate: Hz.
        frames: samples a channel; None when the container does not say.
        format: FFmpeg's name of the container, in capitals ("MOV").
        subtype: libsndfile's sample format of a lossless coding ("PCM_24"), FFmpeg's name of another ("AAC").
        warnings: remarks for the user, on what has been read so far.
    Raises:
        UnknownFormat: FFmpeg does not know it.
        InputError: there is no sound in it, or PyAV does not import.
        DependencyError: PyAV is too old.
    """

    extra_info = ""
    is_media = True
    # A container's length may be wrong by two frames of a codec.
    slack = 4096

    def __init__(self, file: BinaryIO, name: str) -> None:
        try:
            import av  # noqa: F401 - whether it imports
        except ImportError as error:
            file.close()
            problem = f"{name} is read by PyAV, which does not import ({error})"
            raise InputError(f"{problem}: `{REPAIR}`, or convert it first") from error
        try:
            extras.require("av", name)
        except DependencyError:
            file.close()
            raise

        self._file = file
        self._container: Any = None
        self.warnings: list[str] = []
        # PyAV raises Python's errors beside its own. Each means that the file cannot be read.
        try:
            self._container = open_container(file)
            tracks = len(self._container.streams.audio)
            if tracks:
                self._begin(self._container.streams.audio[0], name)
        except Exception as error:
            self.close()
            raise UnknownFormat(_reason(error)) from error
        if not tracks:
            self.close()
            raise InputError(f"{name} holds no sound track: there is nothing to process in it")
        if tracks > 1:
            self.warnings.append(f"{name} holds {tracks} sound tracks: the first is processed")

    def _begin(self, stream: Any, name: str) -> None:
        codec = stream.codec_context
        if codec is None or not codec.sample_rate or not codec.channels:
            raise ValueError("its sound has no sample rate, no channels or an unknown coding")
        self._name = name
        self.samplerate, self.channels = codec.sample_rate, codec.channels
        self.format = self._container.format.name.split(",")[0].upper()
        self.subtype = _subtype(codec)
        if self.format == "CAF" and codec.name == "alac":
            # The last packet is as short as the recording: FFmpeg would cut it once more.
            codec.options = {"flags2": "+skip_manual"}
        # A duration is exact only if the container counts it in samples.
        exact = stream.duration is not None and stream.time_base * codec.sample_rate == 1
        self.frames: int | None = stream.duration if exact and stream.duration > 0 else None
        begin = self._begin_of_video()
        if self.frames and begin is not None and stream.start_time is not None:
            self.frames += max(0, round((stream.start_time * stream.time_base - begin) * codec.sample_rate))
        self._left = self.frames
        self._layout = codec.layout.name
        is_timed = self.format in TIMED
        self._timeline = Timeline(self.samplerate, begin, self._length()) if is_timed else None
        # Where a header states none FFmpeg may estimate a length, which it gives to the track, too.
        is_stated = self.format in STATED and stream.duration is None
        self._stated_s = self._length() if is_stated else None
        self._end_s = 0.0
        self._failure: Exception | None = None
        self._ends_within_packet = False
        self._form: tuple[Any, ...] = ()
        self._resampler: Any = None
        self._pieces = self._placed(self._decoded(stream))
        self._waiting = np.zeros((0, self.channels), np.float32)

    def read(self, frames: int) -> NDArray[np.float32]:
        """Return the next (n, channels), n <= frames; n is 0 at the end. Signals wait for its end.

        Raises:
            Damaged: the next samples cannot be decoded; all before them have been returned.
        """
        parts, there = [self._waiting], len(self._waiting)
        try:
            with deferred():
                while there < frames and (piece := next(self._pieces, None)) is not None:
                    parts.append(piece)
                    there += len(piece)
        except Exception as error:
            self._failure = error
        if self._failure is not None and not there:
            raise Damaged(_reason(self._failure)) from self._failure
        block = np.concatenate(parts)
        block, self._waiting = block[:frames], block[frames:]
        if self._left is not None:
            block = block[: self._left]
            self._left -= len(block)
        return block

    def _decoded(self, stream: Any) -> Iterator[Any]:
        """Yield the frames of a track. Its last packet may be the beginning of one that was cut."""
        failure: Exception | None = None
        count = 0
        for packet in self._container.demux():
            if packet.pts is not None:
                end = (packet.pts + (packet.duration or 0)) * packet.time_base
                self._end_s = max(self._end_s, float(end))
            if packet.stream.index != stream.index:
                continue
            if failure is not None and packet.size:
                raise failure
            try:
                frames = packet.decode()
            except Exception as error:
                failure = error
                continue
            count += len(frames)
            yield from frames
        if failure is not None and not count:
            raise failure
        self._ends_within_packet = failure is not None

    def _placed(self, frames: Iterator[Any]) -> Iterator[NDArray[np.float32]]:
        """Yield frames as (n, channels) float32 of the header's sample rate, and silence between them."""
        import av

        for frame in frames:
            silence = 0 if self._timeline is None else self._timeline.silence_before(frame)
            form = (frame.format.name, frame.layout.name, frame.sample_rate)
            if form != self._form or silence:
                yield from self._converted(None)
                if self._form not in ((), form):
                    self._warn_changed()
                self._form = form
                self._resampler = av.AudioResampler("flt", self._layout, self.samplerate)
            for begin in range(0, silence, SILENCE_FRAMES):
                yield np.zeros((min(SILENCE_FRAMES, silence - begin), self.channels), np.float32)
            yield from self._converted(frame)
        yield from self._converted(None)

    def _converted(self, frame: Any) -> Iterator[NDArray[np.float32]]:
        """Yield a frame's samples with the header's channels and sample rate; None is the end of a form."""
        if self._resampler is not None:
            for piece in self._resampler.resample(frame):
                yield piece.to_ndarray().reshape(-1, self.channels)

    @property
    def has_video(self) -> bool:
        """Whether one of the tracks is a video."""
        return not all(map(is_cover, self._container.streams.video))

    def _begin_of_video(self) -> float | None:
        """Return the time in seconds at which the first track begins; None where no track is a video."""
        import av

        start = self._container.start_time
        if self.format not in TIMED or start is None or not self.has_video:
            return None
        return float(start / av.time_base)

    def _length(self) -> float | None:
        """Return the seconds that the file lasts by its header; None where it does not say."""
        return None if self.format in CLOCKED else self._estimate()

    def _estimate(self) -> float | None:
        """Return the seconds that the file lasts by FFmpeg, which may guess; None where it cannot."""
        import av

        duration = self._container.duration
        return None if duration is None else float(duration / av.time_base)

    @property
    def expected_frames(self) -> int | None:
        """Roughly the number of samples a channel, for progress alone; None where nothing tells it."""
        seconds = self._estimate()
        return self.frames if self.frames or seconds is None else round(seconds * self.samplerate)

    @property
    def stated_frames(self) -> int | None:
        """Number of samples a channel by the header, perhaps not exactly; None where it does not say."""
        if self.frames is not None or self._stated_s is None:
            return self.frames
        return round(self._stated_s * self.samplerate)

    @property
    def is_cut(self) -> bool:
        """Whether the file ends within a packet, or before its header says; known at its end."""
        is_short = self._stated_s is not None and self._end_s < self._stated_s - STATED_SLACK_S
        return self._ends_within_packet or is_short

    def remarks(self) -> list[str]:
        """Return remarks for the user on the timestamps of what has been read so far."""
        return [] if self._timeline is None else self._timeline.remarks(self._name)

    def _warn_changed(self) -> None:
        warning = (
            f"{self._name} changes its rate, channels or coding on the way: all of it becomes"
            f" {self.samplerate} Hz, {self.channels} channels"
        )
        if warning not in self.warnings:
            self.warnings.append(warning)

    def copy_metadata(self) -> dict[str, str]:
        """Return the tags by libsndfile's names; those of a WAV are in its chunks."""
        # FFmpeg takes fields of bext for tags.
        found = {} if family_of(self.format) == "RIFF" else self._metadata()
        return {name: found[tag] for tag, name in TAGS.items() if tag in found}

    @property
    def extras(self) -> Extras:
        """Its chunks where it consists of chunks, as a WAV does; else the speakers of its channels, and the
        names of all other tags, with its chapters and its cover."""
        # Of one and two channels the speakers need no saying.
        mask = speakers.of_layout(self._layout) if self.channels > 2 else 0
        if family_of(self.format) in CHUNKED:
            found = read_extras(self._file, self.format)
            return found._replace(mask=found.mask or mask)
        chapters = ["chapters"] if self._container.chapters() else []
        picture = ["picture"] if any(map(is_cover, self._container.streams.video)) else []
        tags = [name for name in self._metadata() if name not in {*TAGS, *OF_THE_FILE}]
        return Extras(mask=mask, lost=(*chapters, *picture, *tags))

    def _metadata(self) -> dict[str, str]:
        stream = self._container.streams.audio[0]
        places = (stream.metadata, self._container.metadata)
        return {k.lower(): v for place in places for k, v in place.items() if v.strip()}

    def close(self) -> None:
        """Close the file."""
        if self._container is not None:
            self._container.close()
        self._file.close()


def disposition(stream: Any) -> int:
    """Return FFmpeg's flags of a stream; PyAV 17 has them in a class that is no integer."""
    found = getattr(stream, "disposition", 0)
    return int(getattr(found, "value", found))


def is_cover(stream: Any) -> bool:
    """Whether a stream of images is a picture beside the sound, and no video."""
    return bool(disposition(stream) & ATTACHED_PICTURE)


def _subtype(codec: Any) -> str:
    """Return the sample format of a lossless coding, else the name of the coding."""
    kind = codec.codec
    # WavPack is of both kinds: its lossy streams are decoded to the format that was coded, too.
    if not kind.lossless or (kind.lossy and codec.name != "wavpack"):
        return str(codec.name.upper())
    if codec.name.startswith(("pcm_s32", "pcm_u32")):
        return "PCM_32"
    return SUBTYPES[codec.format.packed.name]


def _reason(error: Exception) -> str:
    """Return FFmpeg's message, if it has one."""
    return str(getattr(error, "strerror", None) or error or type(error).__name__)
