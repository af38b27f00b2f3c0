"""The length of an MP3, which is in its first frame, where its encoder could go back and fill it in.

Streams and their recordings have none. libsndfile then estimates a length from the file's size and the first
frame's bit rate, and reads no sample behind it; where there is nothing to estimate from, it counts.

Reference: ISO/IEC 11172-3 and 13818-3 (frames); Xing, VBR header SDK (counts, "Xing" and "Info").
"""

from __future__ import annotations

import os
import re
from typing import Any, BinaryIO, NamedTuple

from audiotool.audio.flac import id3_size

SYNC = 0xFFE00000
"""The bits of a frame's header that are always set."""

LAYER, LAYER3 = 0x00060000, 0x00020000
"""The bits of the layer in a header, and those of layer III."""

SAME = SYNC | LAYER | 0x00180C00
"""Bits of the headers that all frames of a recording have: version, layer, sample rate."""

LOWERED = {3: 0, 2: 1, 0: 2}
"""A header's number for the version (MPEG-1, MPEG-2, MPEG-2.5) -> how often the sample rate is halved."""

RATES = (44100, 48000, 32000)
"""Sample rates of MPEG-1 in Hz, by their number."""

KBIT = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
"""Bit rates in kbit/s by their number, of MPEG-1 and of the others. 0 is a free one."""

COUNTS = re.compile(rb"\0{9,32}(?:Xing|Info)(.{4})(.{4})(.{4})", re.DOTALL)
"""Counts in a frame, behind its header: which there are, number of frames, number of bytes."""

HAS_FRAMES, HAS_BYTES = 1, 2
"""Flags of which counts there are."""

SLACK = 2 * 1441
"""Number of bytes of two frames. Programs differ in whether they count the frame of the counts."""

ID3V1_SIZE = 128

ID3_HEAD, HAS_FOOTER = 10, 0x10
"""Number of bytes of an ID3v2 tag's head, and of the footer, which repeats it where a flag says so."""

SYNC_BYTES = re.compile(rb"\xff(?=[\xe2-\xfb])")
"""Where a frame of layer III may begin."""

MOST_BEFORE = 1 << 16
"""Greatest number of bytes before the first frame and behind tags."""


class Frame(NamedTuple):
    """A frame of layer III.

    Args:
        begin: its position in bytes.
        header: its first four bytes.
        size: in bytes.
    """

    begin: int
    header: int
    size: int

    @property
    def end(self) -> int:
        """The position behind it."""
        return self.begin + self.size


class Frames:
    """A file from its first frame on: decoders lose their way in some of what lies before it.

    Args:
        file: open for reading; it can seek.
        begin: position of the first frame.
    Attributes:
        is_sized: whether the first frame has the number of frames. A file without it passes for an empty one,
            so that nothing can be estimated from its size.
    """

    def __init__(self, file: BinaryIO, begin: int) -> None:
        self._file = file
        self._begin = begin
        self._is_at_end = False
        self.is_sized = True
        self.is_sized = is_counted(self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Seek, and return the position. Tags are found from the true end."""
        self._is_at_end = not self.is_sized and whence == os.SEEK_END and offset == 0
        if not self._is_at_end:
            self._file.seek(offset + self._begin if whence == os.SEEK_SET else offset, whence)
        return self.tell()

    def tell(self) -> int:
        """Return the position."""
        return 0 if self._is_at_end else self._file.tell() - self._begin


class Lead(NamedTuple):
    """What lies before the first frame.

    Args:
        begin: position of the first frame.
        is_usual: whether it is one tag without a footer, or nothing.
        strays: remark for the user on what is left out of it behind the first tag, "" where all is zero.
    """

    begin: int
    is_usual: bool
    strays: str


def lead(file: BinaryIO) -> Lead | None:
    """Return what lies before the first frame of an MP3; None where no frames follow each other.

    Recordings of streams begin in the middle of a frame; programs leave padding or put a tag before another.

    Args:
        file: as for `is_counted`.
    """
    position = file.tell()
    first = first_frame(file)
    tagged = _behind_tag(file, 0)
    begin = _first_of_three(file) if first is None else first.begin
    found = None
    if begin is not None:
        file.seek(0)
        head = file.read(ID3_HEAD)
        file.seek(tagged)
        # Behind all tags no more is left out; of tags, which may be large, the beginning tells.
        between = file.read(min(begin - tagged, MOST_BEFORE))
        is_usual = not between and not (tagged and head[5] & HAS_FOOTER)
        found = Lead(begin, is_usual, _remark(between) if any(between) else "")
    file.seek(position)
    return found


def _remark(between: bytes) -> str:
    if between.startswith(b"ID3"):
        return "has a second ID3 tag, of which libsndfile's tags alone are kept"
    return f"begins with {len(between)} bytes that are no whole frame: they are left out"


def _first_of_three(file: BinaryIO) -> int | None:
    """Return the position of the first three frames in a row, behind all tags."""
    start = _behind_id3(file, 0)
    file.seek(start)
    for sync in SYNC_BYTES.finditer(file.read(MOST_BEFORE)):
        frames = [_frame_at(file, start + sync.start())]
        while (last := frames[-1]) is not None and len(frames) < 3:
            frames.append(_frame_at(file, last.end))
        headers = [frame.header for frame in frames if frame is not None]
        if len(headers) == 3 and not any((header ^ headers[0]) & SAME for header in headers):
            return start + sync.start()
    return None


def is_counted(file: Any) -> bool:
    """Whether the number of frames is in the first one.

    Args:
        file: open for reading; it can seek, and its position is restored.
    """
    return bool(_counts(file)[0])


def is_cut(file: BinaryIO) -> bool:
    """Whether a file ends before the last of its frames.

    Args:
        file: as for `is_counted`.
    """
    (_, expected), position = _counts(file), file.tell()
    end = file.seek(0, os.SEEK_END)
    file.seek(position)
    return end < expected - SLACK


def is_another_behind(file: BinaryIO) -> bool:
    """Whether another MP3 lies behind what has been read: libsndfile stops at the number of frames that the
    first one names, and at another sample rate.

    Args:
        file: open for reading, at the end of what has been read; its position is restored.
    """
    end = file.tell()
    at = end + (ID3V1_SIZE if file.read(3) == b"TAG" else 0)
    is_another = first_frame(file, at) is not None
    file.seek(end)
    return is_another


def first_frame(file: BinaryIO, at: int = 0) -> Frame | None:
    """Return the frame with which an MP3 begins at a position, behind a tag, if another one follows."""
    first = _frame_at(file, _behind_id3(file, at))
    second = None if first is None else _frame_at(file, first.end)
    return first if first and second and not (first.header ^ second.header) & SAME else None


def _frame_at(file: BinaryIO, begin: int) -> Frame | None:
    file.seek(begin)
    header = int.from_bytes(file.read(4), "big")
    size = _size(header)
    return Frame(begin, header, size) if size else None


def _size(header: int) -> int:
    """Return the number of bytes of a frame; 0 if this is no header of layer III, or of a free bit rate."""
    version, bit_rate, rate = header >> 19 & 3, header >> 12 & 15, header >> 10 & 3
    is_header = header & SYNC == SYNC and header & LAYER == LAYER3
    if not is_header or version not in LOWERED or bit_rate in (0, 15) or rate == 3:
        return 0
    is_first = version == 3
    bits = (144 if is_first else 72) * KBIT[not is_first][bit_rate] * 1000
    return bits // (RATES[rate] >> LOWERED[version]) + (header >> 9 & 1)


def _counts(file: Any) -> tuple[int, int]:
    """Return the number of frames and the position of their end by the first frame; 0 where it does not say.

    Args:
        file: as for `is_counted`.
    """
    position = file.tell()
    first = first_frame(file)
    found = None
    if first is not None:
        file.seek(first.begin + 4)
        found = COUNTS.search(file.read(first.size - 4))
    file.seek(position)
    if first is None or found is None:
        return 0, 0
    flags, *numbers = (int.from_bytes(part, "big") for part in found.groups())
    frames = numbers.pop(0) if flags & HAS_FRAMES else 0
    return frames, first.begin + numbers[0] if flags & HAS_BYTES else 0


def _behind_id3(file: BinaryIO, at: int) -> int:
    """Return the position behind the ID3v2 tags that may begin at one."""
    while (end := _behind_tag(file, at)) > at:
        at = end
    return at


def _behind_tag(file: BinaryIO, at: int) -> int:
    """Return the position behind the ID3v2 tag that may begin at one."""
    file.seek(at)
    head = file.read(ID3_HEAD)
    if head[:3] != b"ID3" or len(head) < ID3_HEAD:
        return at
    return at + ID3_HEAD + id3_size(head) + (ID3_HEAD if head[5] & HAS_FOOTER else 0)
