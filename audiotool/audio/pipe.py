"""Read WAV from pipes, which cannot seek and often do not know their length.

Writers into pipes put 0 or about 4 GB (0xFFFFFFFF, or sox's 0x7FFFF000 and more) where the size belongs,
because they cannot come back to correct it. A WAV is read here as a header and bare samples
(`audio.raw`) behind it, as `audio.pipe_writer` writes it.
"""

from __future__ import annotations

import contextlib
import io
import select
import shutil
import sys
import tempfile
from typing import BinaryIO, cast

import soundfile

from audiotool.audio import concatenated
from audiotool.audio.extract import LARGEST, wav_extras
from audiotool.audio.extras import sub_chunks
from audiotool.audio.magic import KIND_BYTES, WAV
from audiotool.audio.raw import ENCODINGS, WIDTHS, Raw, RawFile, some
from audiotool.audio.unclosed import (
    BrokenHeader,
    WavHeader,
    corrected,
    exactly,
    is_chunk_head,
    read_wav_header,
    remark_on_more,
)
from audiotool.errors import InputError
from audiotool.signals import deferred
from audiotool.writable import cause

LINGER_SECONDS = 0.2
"""Greatest wait at the end of a WAV for bytes that follow it."""


class WavStream(RawFile):
    """A WAV from a pipe behind its header.

    Args:
        pipe: at its first sample.
        header: of this WAV.
        file: libsndfile's view of the header.
        name: name in messages.
    """

    def __init__(self, pipe: BinaryIO, header: WavHeader, file: soundfile.SoundFile, name: str) -> None:
        raw = Raw(ENCODINGS[file.subtype], file.samplerate, file.channels)
        frames = header.size // raw.frame_bytes if header.is_known else None
        super().__init__(pipe, raw, name, frames)
        self.format = file.format
        self.extras = wav_extras((chunk.decode("latin-1"), body) for chunk, body in header.chunks)
        self._tags: dict[str, str] = file.copy_metadata()
        self._header = header
        self._last = b""

    def _next(self, size: int) -> bytes:
        """Return the next bytes of samples, up to another WAV in a stream of unknown length."""
        more = super()._next(size)
        if self._left is not None or not more:
            return more
        found = WAV.search(self._last + more)
        if found is None:
            self._last = (self._last + more)[1 - KIND_BYTES :]
            return more
        self._warn_of_another()
        self._left = 0
        return more[: max(0, found.start() - len(self._last))]

    def _warn_of_another(self) -> None:
        self.warnings.append(concatenated.remark(self._name, "WAV"))

    def _look_behind(self, padding: int = 0) -> None:
        """Warn of another WAV, or of what may be more samples, behind at most so many bytes of padding."""
        start, size = b"", max(KIND_BYTES, self._header.least_more) + padding
        while len(start) < size and _is_ready(self._pipe):
            more = some(self._pipe, size - len(start))
            if not more:
                break
            start += more
        if WAV.search(start):
            self._warn_of_another()
        else:
            self._warn_of_more(start, padding)

    def _warn_of_more(self, start: bytes, padding: int) -> None:
        """Warn of bytes behind the samples, with or without padding, that are no chunk, zeros or few."""
        room = self._header.behind
        is_chunk = any(is_chunk_head(start[at : at + 8], room) for at in (0, padding))
        is_long = len(start) - padding >= self._header.least_more
        if is_long and not is_chunk and any(start[padding:]):
            seconds = (self.frames or 0) / self.samplerate
            self.warnings.append(remark_on_more(self._name, seconds, "what follows is left out"))

    def copy_metadata(self) -> dict[str, str]:
        return self._tags

    def remarks(self) -> list[str]:
        names = self._lost()
        if not names:
            return []
        return [
            f"tags and chunks behind the samples of a stream are not kept: {', '.join(names)}; those of"
            " a file that is given by its name are"
        ]

    def _lost(self) -> list[str]:
        """Return the names of tags and chunks behind the samples; warn of what is no chunk."""
        header = self._header
        if self._left != 0 or not header.is_known:
            return []
        padding = header.size % self._raw.frame_bytes + header.size % 2
        if not 0 < header.behind <= LARGEST:
            self._look_behind(padding)
            return []
        data = exactly(self._pipe, padding + header.behind)
        if len(data) >= padding + 8 and not is_chunk_head(data[padding : padding + 8], header.behind):
            self._warn_of_more(data, padding)
            return []
        found = wav_extras(sub_chunks(data[padding:]))
        self._look_behind()
        return found.all_names()


def _is_ready(pipe: BinaryIO) -> bool:
    """Return whether a read will not block, after at most `LINGER_SECONDS`."""
    try:
        descriptor = pipe.fileno()
    except (OSError, AttributeError):
        return True  # bytes in memory do not block
    # On Windows only sockets can be waited for.
    return sys.platform != "win32" and bool(select.select([descriptor], [], [], LINGER_SECONDS)[0])


def open_pipe(pipe: BinaryIO, name: str) -> WavStream | BinaryIO:
    """Open audio from a pipe.

    Args:
        pipe: at its first byte.
        name: name in messages.
    Returns:
        A WAV with samples of a fixed size, which is read as it comes. Anything else is first collected in a
        temporary file, for `soundfile.SoundFile`.
    Raises:
        InputError: nothing comes, a WAV header is broken, or the disk of the temporary file is full.
    """
    start = exactly(pipe, KIND_BYTES)
    if not start:
        raise InputError(f"{name} is empty: pipe audio into it, for example `sox in.mp3 -t wav - | …`")
    if not WAV.match(start):
        return _spool(start, pipe, name)
    try:
        header = read_wav_header(pipe, int.from_bytes(start[4:8], "little"))
    except BrokenHeader as error:
        raise InputError(f"{name}: {error}") from error
    known = header.bytes_for(header.size if header.is_known else 0)
    try:
        # libsndfile reads the header alone, for the sample format and the tags.
        with deferred(), soundfile.SoundFile(io.BytesIO(known)) as file:
            width = WIDTHS.get(file.subtype, 0) * file.channels
            if width and width == header.frame_bytes:
                return WavStream(pipe, header, file, name)
    except soundfile.LibsndfileError:
        pass  # PyAV may know a header that libsndfile refuses
    return _spool(known, pipe, name)


def _spool(start: bytes, pipe: BinaryIO, name: str) -> BinaryIO:
    """Collect a stream on disk, for formats that need to seek.

    Raises:
        InputError: the disk is full.
    """
    # On Windows the file is wrapped in an object that typeshed does not call a BinaryIO.
    file = cast("BinaryIO", tempfile.TemporaryFile(prefix="audiotool-"))  # noqa: SIM115  the reader closes it
    try:
        file.write(start)
        shutil.copyfileobj(pipe, file)
        file.flush()
    except OSError as error:
        with contextlib.suppress(OSError):
            file.close()
        raise InputError(
            f"{name} is put aside in {tempfile.gettempdir()}, and there {cause(error)}: set TMPDIR to another"
            " folder, or give the recording as a file"
        ) from error
    return corrected(file)
