"""Read audio in blocks from files and pipes."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, NoReturn

import numpy as np
import soundfile
from numpy.typing import NDArray

from audiotool.audio import OPEN_FILE, PIPE, STANDARD_INPUT, concatenated, flac, mp3, truncated
from audiotool.audio.decoder import decoder_of
from audiotool.audio.extras import BETWEEN_VALUES, Extras
from audiotool.audio.forward import Damaged, ForwardFile
from audiotool.audio.opening import bare_format, opened
from audiotool.audio.unclosed import corrected
from audiotool.errors import InputError
from audiotool.paths import is_fifo, local_path
from audiotool.stdio import standard_input

if TYPE_CHECKING:
    from audiotool.audio.media import MediaFile
    from audiotool.audio.raw import Raw, RawFile

log = logging.getLogger(__name__)

LARGEST_COUNT = 1 << 46
"""Greatest number of samples in a header that is no mark of an unknown length."""
BLOCK_FRAMES = 1 << 18
"""Default number of samples that are read at a time."""
SHORT_FRAMES = 1024
"""Number of samples that are read at a time where damage is looked for."""


class AudioInfo(NamedTuple):
    """Facts of a recording from its header.

    Args:
        sample_rate: Hz.
        channels: 1 or more.
        frames: samples a channel, None if the header does not say.
        format: libsndfile's container ("WAV"), or FFmpeg's ("MOV").
        subtype: libsndfile's sample format ("PCM_16"), or FFmpeg's name of a lossy coding ("AAC").
    """

    sample_rate: int
    channels: int
    frames: int | None
    format: str
    subtype: str

    @property
    def seconds(self) -> float | None:
        """Duration, None when unknown."""
        return None if self.frames is None else self.frames / self.sample_rate


class AudioReader:
    """An open recording, which is read once from its beginning to its end.

    Args:
        source: a path, or "-" for standard input.
        stdin: the stream of "-"; the process's standard input by default.
        raw: format of bare samples, in a pipe or in a file named as such (`BARE_ENDINGS`); a header, and an
            ending that has one coding alone, come first. None expects a header.
        name: name in messages; None is its path, or "standard input".
        file: the open file, which can seek and is closed with the reader; None opens the path.
    Attributes:
        info: facts from the header.
        is_pipe: whether it can be read only once: standard input, or a named pipe.
        warnings: remarks for the user; complete when all blocks are read.
        peak: greatest absolute sample that has been read.
    Raises:
        InputError: missing, unreadable, not audio, or without channels.
    """

    def __init__(
        self,
        source: str | Path,
        stdin: BinaryIO | None = None,
        raw: Raw | None = None,
        name: str | None = None,
        file: BinaryIO | None = None,
    ) -> None:
        self.name = name or (STANDARD_INPUT if str(source) == PIPE else str(source))
        self.peak = 0.0
        self._position = 0
        self._path = Path(source)
        self.is_pipe = str(source) == PIPE or is_fifo(source)
        self._fifo: BinaryIO | None = None
        self._source: Any
        self._file: ForwardFile | MediaFile | RawFile
        if self.is_pipe:
            self._is_bare = raw is not None
            self._file, self._source = self._from_pipe(self._stream(source, stdin), raw)
        else:
            file = opened(self._path) if file is None else corrected(file)
            remarks: list[str] = []
            if raw is not None:
                raw, remarks = bare_format(file, self.name, self._path, raw)
            self._is_bare = raw is not None
            form = {} if raw is None else raw.libsndfile()
            self._file, self._source = decoder_of(file, self.name, form, remarks)
        self.warnings: list[str] = self._file.warnings
        frames = self._file.frames
        if frames is not None and not 0 <= frames <= LARGEST_COUNT:
            frames = None
        self._declared = frames
        if self._is_mp3 and mp3.is_cut(self._source):
            # A length that will not come must not reach an output's header.
            frames = None
        self.info = AudioInfo(
            self._file.samplerate, self._file.channels, frames, self._file.format, self._file.subtype
        )
        if not self.is_pipe:
            self._note_truncation()

    def __enter__(self) -> AudioReader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        self._source.close()
        if self._fifo is not None:
            self._fifo.close()

    @property
    def expected_frames(self) -> int | None:
        """Number of samples a channel for progress, perhaps roughly; None where nothing tells it."""
        return self.info.frames or self._file.expected_frames

    @property
    def announced_frames(self) -> int | None:
        """Number of samples a channel that an output's header may name before they are read.

        It is None, too, for a WAV of unknown size: another WAV may lie in it, and it ends there.
        """
        return self.info.frames if self._goes_on is None else None

    @property
    def _goes_on(self) -> bool | None:
        """Whether another WAV was reached in one of unknown size (`OpenEnded`); None for any other file."""
        return getattr(self._source, "goes_on", None)

    @property
    def has_video(self) -> bool:
        """Whether there are moving pictures beside the sound."""
        return self._file.has_video

    @property
    def video(self) -> Path | None:
        """The file's path where PyAV reads it, and it can be read again; its pictures can be copied."""
        return self._path if self._file.is_media and not self.is_pipe else None

    @property
    def extras(self) -> Extras:
        """The chunks, metadata and speakers of the file, beside samples and tags."""
        return self._file.extras

    @property
    def tags(self) -> dict[str, str]:
        """Title, artist, date and others, by libsndfile's names; without the program that wrote the file.

        Of several values of a tag libsndfile knows one; here all are joined by "; ". The file must be open.
        """
        found = {n: v for n, v in self._file.copy_metadata().items() if v.strip() and n != "software"}
        for name, values in self.extras.tags().items():
            if name not in found or len(values) > 1:
                found[name] = BETWEEN_VALUES.join(values)
        return found

    def _from_pipe(self, pipe: BinaryIO, raw: Raw | None) -> tuple[ForwardFile | MediaFile | RawFile, Any]:
        """Open a pipe: as samples that are read as they come, or as the file that its content is."""
        from audiotool.audio.pipe import open_pipe
        from audiotool.audio.raw import RawFile

        found = open_pipe(pipe, self.name) if raw is None else RawFile(pipe, raw, self.name)
        return (found, found) if isinstance(found, RawFile) else decoder_of(found, self.name)

    def _stream(self, source: str | Path, stdin: BinaryIO | None) -> BinaryIO:
        """Open a stream that can be read only once."""
        if str(source) != PIPE:
            self._fifo = Path(source).open("rb")  # noqa: SIM115 - closed with the reader
            return self._fifo
        stream = standard_input() if stdin is None else stdin
        if stream.isatty():
            raise InputError("standard input is a terminal: pipe audio into it, or name a file")
        return stream

    def blocks(self, frames: int) -> Iterator[NDArray[np.float32]]:
        """Yield (n, channels) float32 with n <= frames until the end; a pipe yields what it has.

        Raises:
            InputError: the file is damaged, holds no samples, or holds NaN or infinity.
        """
        while len(block := self._next(frames)):
            yield block
        is_damaged = truncated.is_damaged(self._file)
        declared = self._declared
        if not self._position and (is_damaged or declared):
            raise InputError(f"{self.name} is damaged: none of its samples can be decoded")
        if not self._position:
            cause = "no samples came" if self._is_bare else "its header is followed by no samples"
            raise InputError(f"{self.name} holds no audio: {cause}")
        if self._goes_on:
            self.warnings.append(concatenated.remark(self.name, "WAV"))
        elif self._file.is_cut:
            self._warn_incomplete(self._file.stated_frames, self._position)
        elif declared is not None and self._position < declared - self._file.slack:
            self._warn_incomplete(declared, self._position, is_damaged)
        elif is_damaged or truncated.is_cut(self._file, self._source):
            self._warn_incomplete(None, self._position, is_damaged)
        if self._is_mp3 and mp3.is_another_behind(self._source):
            self.warnings.append(concatenated.remark(self.name, "MP3"))
        elif self._file.format == "OGG" and concatenated.is_ogg_behind(self._source):
            self.warnings.append(concatenated.remark(self.name, "Ogg"))
        self.warnings += self._file.remarks()

    @property
    def _is_mp3(self) -> bool:
        return self._file.format == "MP3"

    def excerpt(self, start: int, frames: int) -> NDArray[np.float32]:
        """Return the samples [start, start + frames), fewer at the end: (n, channels) float32.

        Args:
            start: not before the samples that have been read.
        Raises:
            InputError: as `blocks`.
        """
        while self._position < start and len(self._next(min(BLOCK_FRAMES, start - self._position))):
            pass
        return next(self.blocks(frames), np.zeros((0, self.info.channels), np.float32))

    def seek(self, frame: int) -> bool:
        """Seek to a sample; return False if the source cannot seek."""
        if self.info.frames is None or not isinstance(self._file, ForwardFile):
            return False
        if self.info.format == "FLAC" and not flac.counts_from_zero(self._source):
            return False
        try:
            self._file.seek(frame)
        except soundfile.LibsndfileError:
            return False
        self._position = frame
        return True

    def _next(self, frames: int) -> NDArray[np.float32]:
        try:
            block = self._file.read(frames)
        except Damaged as error:
            at = self._damage() / self.info.sample_rate
            raise InputError(f"{self.name} is damaged after {at:.2f} s: {error}") from error
        # NaN and infinity are peaks, too.
        peak = float(np.abs(block).max(initial=0.0))
        if not math.isfinite(peak):
            self._refuse(block)
        self.peak = max(self.peak, peak)
        self._position += len(block)
        return block

    def _damage(self) -> int:
        """Return about which sample cannot be decoded, because a block that holds it is lost as a whole."""
        if not isinstance(self._file, ForwardFile):
            return self._position
        position = 0
        with contextlib.suppress(soundfile.LibsndfileError, Damaged):
            self._source.seek(0)
            file = ForwardFile(self._source)
            while count := len(file.read(SHORT_FRAMES)):
                position += count
        return max(position, self._position)

    def _refuse(self, block: NDArray[np.float32]) -> NoReturn:
        """Name the first sample that is not finite."""
        frame, channel = np.argwhere(~np.isfinite(block))[0]
        at = self._position + int(frame)
        raise InputError(
            f"{self.name} holds {block[frame, channel]} at sample {at}"
            f" ({at / self.info.sample_rate:.3f} s) of channel {channel + 1}: samples must be finite"
        )

    def _note_truncation(self) -> None:
        """Warn of a file that ends before its header says."""
        declared = truncated.declared_frames(self._file, self._source)
        if declared is not None and declared <= LARGEST_COUNT and self.info.frames:
            self._warn_incomplete(declared, self.info.frames)

    def _warn_incomplete(self, declared: int | None, actual: int, is_damaged: bool = False) -> None:
        what = "damaged" if is_damaged else "truncated"
        rate = self.info.sample_rate
        whole = "" if declared is None else f" of {declared / rate:.2f} s"
        self.warnings.append(
            f"{self.name} is {what}: {actual / rate:.2f} s{whole} are there, and only they are processed"
        )


def probe(source: str | Path) -> AudioInfo:
    """Read the header of a file.

    Raises:
        InputError: as AudioReader.
    """
    with AudioReader(source) as reader:
        return reader.info


def measure(source: str | Path) -> AudioInfo:
    """Read the header of a file as `probe`, and count the samples if it has no number, by reading all of
    them.

    Raises:
        InputError: as AudioReader and its blocks.
    """
    with AudioReader(source) as reader:
        if reader.info.frames is not None:
            return reader.info
        frames = sum(len(block) for block in reader.blocks(BLOCK_FRAMES))
        return reader.info._replace(frames=frames)


def excerpt(source: str | Path, start: int, frames: int) -> NDArray[np.float32]:
    """Return the samples [start, start + frames) of a file, fewer at its end: (channels, time) float32.

    Raises:
        InputError: as AudioReader and its blocks.
    """
    with AudioReader(source) as reader:
        if reader.seek(start):
            return reader.excerpt(start, frames).T
    # A file that cannot seek is read from its beginning.
    with AudioReader(source) as reader:
        return reader.excerpt(start, frames).T


def read(source: str | os.PathLike[str] | BinaryIO) -> tuple[NDArray[np.float32], int]:
    """Read a whole file; return (channels, time) float32, and the sample rate in Hz.

    What `AudioReader.warnings` say, of a truncated file for example, is logged.

    Args:
        source: a path, or a binary file that is open, such as `io.BytesIO(data)`: it is read from its
            position on, and stays open.
    Raises:
        InputError: as AudioReader and its blocks; or neither a path nor a binary file that can be read.
    """
    with _reader_of(source) as reader:
        blocks = list(reader.blocks(BLOCK_FRAMES))
    for warning in reader.warnings:
        log.warning("%s", warning)
    return np.ascontiguousarray(np.concatenate(blocks).T), reader.info.sample_rate


def _reader_of(source: Any) -> AudioReader:
    if isinstance(source, (str, os.PathLike)) or not hasattr(source, "read"):
        return AudioReader(local_path(source))
    try:
        data = source.read()
    except UnicodeDecodeError:  # of a file that is open for text, which may be a wrapper around one
        data = ""
    except io.UnsupportedOperation as error:
        raise InputError(f"{OPEN_FILE} cannot be read: it is open for writing") from error
    except (OSError, ValueError) as error:  # closed, or its disk fails
        raise InputError(f"{OPEN_FILE} cannot be read: {error}") from error
    if not isinstance(data, bytes):
        raise InputError("an open file is read as bytes: open it with the mode 'rb'")
    if not data:
        raise InputError(f"{OPEN_FILE} is empty from its position on: seek(0) goes to its beginning")
    return AudioReader(OPEN_FILE, file=io.BytesIO(data))
