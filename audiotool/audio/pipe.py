"""WAV through pipes, which cannot seek and often do not know their length.

Writers into pipes put 0 or about 4 GB (0xFFFFFFFF, or sox's 0x7FFFF000 and more) where the size belongs,
because they cannot come back to correct it. Reading replaces the header by one whose size is right or
endless and hands the rest to libsndfile as it comes; writing does as the others do.
"""

from __future__ import annotations

import io
import shutil
import struct
import tempfile
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np

from audiotool.audio.extras import LARGEST
from audiotool.audio.formats import INTEGER_BITS
from audiotool.audio.levels import FloatBlock, quantise
from audiotool.audio.unclosed import BrokenHeader, corrected, exactly, read_wav_header
from audiotool.errors import InputError

ENDLESS = 1 << 48
FORM = struct.Struct("<4sI4s")
"""The beginning of a RIFF file: its kind, its size, what it holds."""

KEPT = 64
"""Bytes of samples that may be read twice."""


class ForwardOnly(io.RawIOBase):
    """A pipe that looks seekable to libsndfile: a rewritten header, then bytes that come only once.

    Args:
        header: bytes that replace the pipe's own header.
        pipe: positioned at the first sample.
        size: bytes of sample data that belong to the stream.
        frame_bytes: reads are whole frames while the pipe has them.
        chunks: name and body of each chunk of the header.
        padding, behind: bytes that follow the samples, and those of chunks after them.
    """

    def __init__(
        self,
        header: bytes,
        pipe: BinaryIO,
        size: int,
        frame_bytes: int,
        chunks: Sequence[tuple[bytes, bytes]] = (),
        padding: int = 0,
        behind: int = 0,
    ) -> None:
        self.chunks = chunks
        self._padding, self._behind = padding, behind
        self._pipe = pipe
        self._data_start = len(header)
        self._end = len(header) + size
        self._frame_bytes = frame_bytes
        self._position = 0
        # libsndfile reads the first samples and seeks back to them, so these are kept.
        self._kept = header
        self._reached = len(header)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._end}[whence]
        self._position = base + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        data = self._kept[self._position : self._position + size]
        at = self._position + len(data)
        if len(data) < size and at == self._reached:
            new = self._next(min(size - len(data), self._end - at))
            self._reached += len(new)
            if self._reached <= self._data_start + KEPT:
                self._kept += new
            data += new
        self._position += len(data)
        return data

    def rest(self) -> list[tuple[bytes, bytes]]:
        """Return name and body of the chunks after the samples; called when all samples are read."""
        if self._reached < self._end or not 0 < self._behind <= LARGEST:
            return []
        data, self._behind = exactly(self._pipe, self._padding + self._behind)[self._padding :], 0
        found, at = [], 0
        while at + 8 <= len(data):
            name, size = struct.unpack_from("<4sI", data, at)
            found.append((name, data[at + 8 : at + 8 + size]))
            at += 8 + size + size % 2
        return found

    def _next(self, wanted: int) -> bytes:
        """Return the bytes that the pipe has now, in whole frames unless the pipe has ended."""
        data = b""
        while wanted > len(data) and (not data or self._beyond_frame(len(data))):
            more = some(self._pipe, wanted - len(data))
            if not more:
                break
            data += more
        return data

    def _beyond_frame(self, length: int) -> int:
        return (self._reached + length - self._data_start) % self._frame_bytes

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def some(pipe: BinaryIO, size: int) -> bytes:
    """Read at most `size` bytes; wait for the first byte, not for all."""
    read = getattr(pipe, "read1", pipe.read)
    return read(size) or b""


def open_pipe(pipe: BinaryIO, name: str = "standard input") -> tuple[BinaryIO, bool]:
    """Make audio from a pipe readable by soundfile, in constant memory.

    Args:
        pipe: at its first byte.
        name: name in messages.
    Returns:
        A file for `soundfile.SoundFile`, and whether the stream's length is known. Plain WAV is passed on
        as it comes; anything else is first collected in a temporary file.
    Raises:
        InputError: nothing comes, or a WAV header is broken.
    """
    start = exactly(pipe, FORM.size)
    if not start:
        raise InputError(f"{name} is empty: pipe audio into it, for example `sox in.mp3 -t wav - | …`")
    if start[:4] not in (b"RIFF", b"RF64") or start[8:12] != b"WAVE":
        return _spool(start, pipe), True
    try:
        header = read_wav_header(pipe, FORM.unpack(start)[1])
    except BrokenHeader as error:
        raise InputError(f"{name}: {error}") from error
    if not header.frame_bytes:
        return _spool(header.bytes_for(header.size if header.is_known else 0), pipe), True
    length = header.size if header.is_known else ENDLESS
    length -= length % header.frame_bytes
    behind = (header.size + header.size % 2 - length, header.behind) if header.is_known else (0, 0)
    view = ForwardOnly(header.bytes_for(length), pipe, length, header.frame_bytes, header.chunks, *behind)
    return view, header.is_known  # type: ignore[return-value]


def _spool(start: bytes, pipe: BinaryIO) -> BinaryIO:
    """Collect a stream on disk, for formats that need to seek."""
    file = tempfile.TemporaryFile(prefix="audiotool-")  # noqa: SIM115  the reader closes it
    file.write(start)
    shutil.copyfileobj(pipe, file)
    return corrected(file)


PIPE_SUBTYPES = {"PCM_U8": 1, "PCM_16": 1, "PCM_24": 1, "PCM_32": 1, "FLOAT": 3, "DOUBLE": 3}
"""Sample formats that WAV through a pipe can have, and their format tags."""


def wav_header(sample_rate: int, channels: int, subtype: str, frames: int | None) -> bytes:
    """Return a WAV header; an unknown or too great length becomes 0xFFFFFFFF, as of other programs."""
    width = {"FLOAT": 4, "DOUBLE": 8}.get(subtype) or INTEGER_BITS[subtype] // 8
    block = width * channels
    size = 0xFFFFFFFF if frames is None or frames * block > 0xFFFFFF00 else frames * block
    riff = 0xFFFFFFFF if size == 0xFFFFFFFF else size + size % 2 + 36
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", riff, b"WAVE", b"fmt ", 16, PIPE_SUBTYPES[subtype], channels, sample_rate),
        *(sample_rate * block, block, width * 8, b"data", size),
    )


def wav_bytes(block: FloatBlock, subtype: str) -> tuple[bytes, int]:
    """Return samples (frames, channels) as WAV data, and the number of samples beyond full scale."""
    if subtype in ("FLOAT", "DOUBLE"):
        return block.astype("<f4" if subtype == "FLOAT" else "<f8").tobytes(), 0
    bits = INTEGER_BITS[subtype]
    integers, beyond = quantise(block, bits)
    if bits == 8:
        return ((integers >> 24) + 128).astype(np.uint8).tobytes(), beyond
    if bits == 16:
        return (integers >> 16).astype("<i2").tobytes(), beyond
    width = bits // 8
    whole = np.ascontiguousarray(integers.astype("<i4")).view(np.uint8).reshape(*integers.shape, 4)
    return whole[..., 4 - width :].tobytes(), beyond
