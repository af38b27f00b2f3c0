"""Files whose headers have not the true sizes, as of recorders that lost power and of pipes saved as files.

WAV, RF64 and CAF have the size of the samples in the header. A program that could not seek back has left 0 or
the greatest number there, and libsndfile takes a 0 for no samples. It refuses a CAF that ends before its
header says. All readers open such a file through a view with a corrected header.

Nobody searches a whole file before its first sample is needed: where the size is unknown, another WAV behind
the first is found when the samples have been read up to there.

Other recorders correct the size now and then. After a crash it is no mark of an unknown one: the samples
end there, and a warning says that more follows.
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
from typing import BinaryIO, NamedTuple, cast

from audiotool.audio.magic import KIND_BYTES, WAV, kind_of

MAX_HEADER = 1 << 24
"""Greatest number of bytes before the samples; a file with more is read by libsndfile as it is."""

PLAIN_TAGS = (0x0001, 0x0003, 0x0006, 0x0007, 0xFFFE)
"""WAV encodings of one fixed size a sample: PCM, float, A-law, mu-law, extensible."""

PIECE, PIECES = 1 << 20, 8
"""Number of bytes, and how often so many, in which samples are looked for behind the end."""

LEAST_SECONDS = 0.05
"""Least duration of what may be samples behind the end that a header names; tags are shorter."""

LARGEST_TAG = 1 << 24
"""Greatest size in bytes of a chunk behind the samples that is taken for one though the file ends in it."""

LARGEST_WAV = 0xFFFFF000
"""Greatest size of samples that is surely no mark of an unknown size."""


def is_unknown(size: int) -> bool:
    """Whether a data chunk's size is a mark of an unknown one: 0, about 2 GiB (sox, arecord) or 4 GiB."""
    return size == 0 or 0x7FFFF000 <= size <= 0x80000000 or 0xFFFFF000 <= size <= 0xFFFFFFFF


def corrected(file: BinaryIO) -> BinaryIO:
    """Return the file, at its beginning, or a view of it with a corrected header.

    Args:
        file: open for reading; it can seek. A view closes it.
    """
    file.seek(0)
    start = file.read(KIND_BYTES)
    kind, view = kind_of(start), None
    if kind == "WAV":
        view = _corrected_wav(file)
    elif kind == "CAF":
        view = _corrected_caf(file)
    file.seek(0)
    return file if view is None else cast("BinaryIO", view)


def bytes_behind(file: BinaryIO) -> tuple[int, int]:
    """Return how many bytes that may be samples follow a WAV's, and how many bytes a sample of all channels
    has; 0 where there are none, in other formats, and for sizes that vary. Chunks, zeros and a few bytes are
    no samples.

    Args:
        file: open for reading; it can seek, and its position is restored.
    """
    position = file.tell()
    file.seek(0)
    start, more, width = file.read(KIND_BYTES), 0, 0
    if WAV.match(start):
        with contextlib.suppress(BrokenHeader):
            header = read_wav_header(file)
            width, end = header.frame_bytes, file.tell() + header.size
            more = max(0, file.seek(0, os.SEEK_END) - end)
            # Some programs do not pad an odd size.
            is_chunk = any(_is_chunk(file, at, more) for at in (end, end + header.size % 2))
            if more < header.least_more or is_chunk or _is_zero(file, end):
                more = 0
    file.seek(position)
    return more, width


def remark_on_more(name: str, seconds: float, what: str) -> str:
    """Return the remark that bytes which may be samples follow the samples of a WAV.

    Args:
        name: of the file.
        seconds: duration by the header.
        what: what follows.
    """
    return (
        f"{name}: by its header it ends after {seconds:.2f} s, and only they are processed: {what}, as of a"
        " recorder that crashed; `ffmpeg -ignore_length 1 -i IN OUT.wav` takes it for samples"
    )


def is_chunk_head(head: bytes, room: int) -> bool:
    """Whether eight bytes may be the head of a chunk: a name, and a size that fits or may be a tag's.

    The name alone says nothing: silence in A-law is the letter U. A tag may have been cut.

    Args:
        room: number of bytes that follow.
    """
    return _is_chunk_name(head[:4]) and int.from_bytes(head[4:8], "little") <= max(room, LARGEST_TAG)


def _is_chunk_name(name: bytes) -> bool:
    """Whether four bytes may be the name of a chunk."""
    return name.isascii() and name.decode().isprintable()


class Reheaded(io.RawIOBase):
    """A file with another header.

    Args:
        file: can seek.
        header: replaces all before `begin`.
        begin: position of the samples in the file.
        size: number of bytes from there on.
        declared: size of the samples in the file's own header; 0 if that is a mark of an unknown size.
    Attributes:
        sizes: `declared` and `size`.
    """

    def __init__(self, file: BinaryIO, header: bytes, begin: int, size: int, declared: int = 0) -> None:
        self.sizes = (declared, size)
        self._file, self._header, self._begin = file, header, begin
        self._end = len(header) + size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._end}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        wanted = max(0, min(len(buffer), self._end - self._position))
        data = self._header[self._position : self._position + wanted]
        if not data:
            self._file.seek(self._begin + self._position - len(self._header))
            data = self._file.read(wanted)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


class OpenEnded(Reheaded):
    """A WAV of unknown size, which lasts to the end of the file, or to another WAV.

    Attributes:
        goes_on: whether the bytes of another WAV have been reached; what is read ends before them.
    """

    goes_on = False

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        begin, count = self._position, super().readinto(buffer)
        if begin < len(self._header):
            return count
        found = WAV.search(bytes(buffer[:count]) + self._file.read(KIND_BYTES - 1))
        if found is not None and found.start() < count:
            count, self.goes_on = found.start(), True
            self._end = self._position = begin + count
        return count


class WavHeader(NamedTuple):
    """A WAV's header up to its samples.

    Args:
        chunks: name and body of the chunks before the samples without ds64, in their order.
        fmt: body of the format chunk.
        size: size of the samples in bytes, from the header.
        is_known: False if `size` is a mark of an unknown size.
        behind: number of bytes after the samples, from the header; none if negative.
    """

    chunks: list[tuple[bytes, bytes]]
    fmt: bytes
    size: int
    is_known: bool
    behind: int = 0

    @property
    def frame_bytes(self) -> int:
        """Bytes of a sample of all channels; 0 for encodings without a fixed size."""
        tag, _, _, _, frame_bytes = struct.unpack("<HHIIH", self.fmt[:14])
        return frame_bytes if tag in PLAIN_TAGS else 0

    @property
    def least_more(self) -> int:
        """Least number of bytes behind the samples that may be samples."""
        (rate,) = struct.unpack("<I", self.fmt[4:8])
        # Encodings without a fixed size have about a byte a sample, or less.
        return int(LEAST_SECONDS * rate * max(1, self.frame_bytes))

    def bytes_for(self, size: int) -> bytes:
        """Return the header for samples of a known size; that of an RF64 if a WAV cannot hold it."""
        body = b"".join(struct.pack("<4sI", n, len(c)) + c + b"\0" * (len(c) % 2) for n, c in self.chunks)
        if size < LARGEST_WAV - len(body):
            riff = struct.pack("<4sI4s", b"RIFF", len(body) + size + size % 2 + 12, b"WAVE")
            return riff + body + struct.pack("<4sI", b"data", size)
        sizes = struct.pack("<4sIQQQI", b"ds64", 28, size + len(body) + 48, size, 0, 0)
        riff = struct.pack("<4sI4s", b"RF64", 0xFFFFFFFF, b"WAVE")
        return riff + sizes + body + struct.pack("<4sI", b"data", 0xFFFFFFFF)


class BrokenHeader(Exception):
    """A WAV's header is invalid; the message says why."""


def read_wav_header(file: BinaryIO, form_size: int = 0) -> WavHeader:
    """Read a header from byte 12 to the first sample, without seeking.

    Args:
        form_size: size of the file at byte 4; 0 ignores it.
    Raises:
        BrokenHeader: the header ends early, or a chunk before the samples has an implausible size.
    """
    chunks: list[tuple[bytes, bytes]] = []
    there, begin, size64 = 0, 12, None
    while True:
        head = exactly(file, 8)
        begin += len(head)
        if len(head) < 8:
            raise BrokenHeader("the WAV header ends before its data")
        name, size = struct.unpack("<4sI", head)
        if name == b"data":
            break
        there += len(head) + size
        if there > MAX_HEADER:
            raise BrokenHeader(f"a WAV header claims {there} bytes or more; this is not a WAV stream")
        body = exactly(file, size + size % 2)[:size]
        begin += size + size % 2
        if name != b"ds64":
            chunks.append((name, body))
        elif len(body) >= 16:
            form_size64, size64 = struct.unpack("<QQ", body[:16])
            form_size = form_size64 if form_size == 0xFFFFFFFF else form_size
    fmt = next((body for name, body in chunks if name == b"fmt "), b"")
    if len(fmt) < 16:
        raise BrokenHeader("the WAV header has no format chunk")
    is_known = not is_unknown(size)
    if size == 0xFFFFFFFF and size64 and size64 < 1 << 63:
        size, is_known = size64, True
    return WavHeader(chunks, fmt, size, is_known, form_size + 8 - begin - size - size % 2)


def exactly(file: BinaryIO, size: int) -> bytes:
    """Read so many bytes, fewer only at the end."""
    parts, there = [], 0
    while there < size and (more := file.read(size - there)):
        parts.append(more)
        there += len(more)
    return b"".join(parts)


def _corrected_wav(file: BinaryIO) -> Reheaded | None:
    """Return a view of the file with a corrected header; None if the file's own sizes are right."""
    try:
        header = read_wav_header(file)
    except BrokenHeader:
        return None
    begin = file.tell()
    there = file.seek(0, os.SEEK_END) - begin
    behind = begin + header.size + header.size % 2
    if header.is_known or there == 0 or _are_chunks(file, behind, begin + there):
        return None
    size = there - (there % header.frame_bytes if header.frame_bytes else 0)
    return OpenEnded(file, header.bytes_for(size), begin, size)


def _are_chunks(file: BinaryIO, at: int, end: int) -> bool:
    """Whether only whole chunks follow to the end of the file, so that the size was no mark."""
    while at + 8 <= end:
        file.seek(at)
        name, size = struct.unpack("<4sI", file.read(8))
        if not _is_chunk_name(name) or at + 8 + size > end:
            return False
        at += 8 + size + size % 2
    return at in (end, end + 1)


def _is_chunk(file: BinaryIO, at: int, room: int) -> bool:
    """Whether a chunk may begin at a position, complete or not."""
    file.seek(at)
    return is_chunk_head(file.read(8), room)


def _is_zero(file: BinaryIO, at: int) -> bool:
    """Whether only zeros follow to the end of the file, as where a program fills whole blocks of a disk.

    Of many bytes some are looked at.
    """
    step = max(PIECE, (file.seek(0, os.SEEK_END) - at) // PIECES)
    while piece := _piece(file, at):
        if piece.count(0) < len(piece):
            return False
        at += step
    return True


def _piece(file: BinaryIO, at: int) -> bytes:
    file.seek(at)
    return file.read(PIECE)


def _corrected_caf(file: BinaryIO) -> Reheaded | None:
    """As `_corrected_wav`.

    Reference: Apple, Core Audio Format Specification 1.0: -1 lasts to the file's end.
    """
    at, end = 8, file.seek(0, os.SEEK_END)
    while at + 12 <= end and at < MAX_HEADER:
        file.seek(at)
        name, size = struct.unpack(">4sq", file.read(12))
        if name == b"data":
            there = end - at - 12
            if 0 <= size <= there:
                return None
            file.seek(0)
            header = file.read(at) + struct.pack(">4sq", name, there)
            return Reheaded(file, header, at + 12, there, max(size, 0))
        if size < 0:
            return None
        at += 12 + size
    return None
