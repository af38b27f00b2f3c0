"""Recordings behind another one in the same file or pipe, as of `cat a.wav b.wav`.

The first recording is processed. A warning says that the others are left out, because they would be lost
without a trace: the sizes in the first header end before them.
"""

from __future__ import annotations

import os
import re
import struct
from typing import BinaryIO

from audiotool.audio.magic import AIFF, ASF, AU, CAF, OGG, WAV, kind_of

FORM = struct.Struct("<4sI4s")
"""The beginning of a RIFF file: its kind, its size, what it holds."""

LARGEST_PAGE = 27 + 255 + 255 * 255
"""Greatest number of bytes of a page of an Ogg."""

PAGE_HEAD, FIRST_PAGE = 27, 2
"""Number of bytes of a page's head before the sizes of its segments; flag of the first page of a stream."""

MOST_CHUNKS = 1000
"""Greatest number of chunks that are looked at."""


def warning(name: str, kind: str) -> str:
    """Return the warning that another recording of a kind ("WAV") follows the one of a name."""
    return f"{name} goes on with another {kind}, which is left out: give one recording at a time"


def kind_behind(file: BinaryIO) -> str | None:
    """Return the kind of a file ("WAV") if another recording of its kind lies behind the first, else None.

    Kinds are those in which libsndfile and FFmpeg read the first recording alone: WAV, AIFF, AU, CAF, MP4 and
    ASF. Of an Ogg, which has to be read to its end, `is_ogg_behind` tells.

    Args:
        file: open for reading; it can seek, and is left at its beginning.
    """
    file.seek(0)
    start = file.read(28)
    size = file.seek(0, os.SEEK_END)
    kind, is_behind = kind_of(start), False
    if kind == "WAV":
        is_behind = _lies_at(file, _end_of_wav(start), size, WAV)
    elif kind == "AIFF":
        is_behind = _lies_at(file, 8 + _big_endian(start, 4), size, AIFF)
    elif kind == "AU":
        is_behind = _lies_at(file, _big_endian(start, 4) + _big_endian(start, 8), size, AU)
    elif kind == "CAF":
        is_behind = _is_caf_behind(file, size)
    elif kind == "MP4":
        is_behind = _is_mp4_behind(file, size)
    elif kind == "ASF":
        is_behind = _is_asf_behind(file, size)
    file.seek(0)
    return kind if is_behind else None


def _big_endian(start: bytes, at: int) -> int:
    return int.from_bytes(start[at : at + 4], "big")


def _end_of_wav(start: bytes) -> int:
    if start[:4] == b"RF64" and start[12:16] == b"ds64":
        return 8 + int.from_bytes(start[20:28], "little")
    return 8 + int.from_bytes(start[4:8], "little")


def _lies_at(file: BinaryIO, end: int, size: int, form: re.Pattern[bytes]) -> bool:
    """Return whether a recording begins at the end of another one, or a byte beside it: programs differ in
    how they count padding."""
    if not FORM.size <= end < size:
        return False
    file.seek(end - 1)
    return form.search(file.read(FORM.size + 2)) is not None


def _is_caf_behind(file: BinaryIO, size: int) -> bool:
    at = 8
    for _ in range(MOST_CHUNKS):
        file.seek(at)
        head = file.read(12)
        # libsndfile pads an odd number of bytes, which the format does not ask for.
        if CAF in (head[:4], head[1:5]):
            return True
        length = int.from_bytes(head[4:], "big", signed=True)
        at += 12 + length
        if length < 0 or at + 12 > size:
            return False
    return False


def _is_mp4_behind(file: BinaryIO, size: int) -> bool:
    at = 0
    for _ in range(MOST_CHUNKS):
        file.seek(at)
        head = file.read(16)
        length, name = _big_endian(head, 0), head[4:8]
        if name == b"ftyp" and at:
            return True
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        at += length
        if length < 8 or at + 8 > size:
            return False
    return False


def _is_asf_behind(file: BinaryIO, size: int) -> bool:
    at = 0
    for _ in range(MOST_CHUNKS):
        file.seek(at)
        head = file.read(24)
        if at and head.startswith(ASF):
            return True
        length = int.from_bytes(head[16:24], "little")
        at += length
        if length < 24 or at + 24 > size:
            return False
    return False


def is_ogg_behind(file: BinaryIO) -> bool:
    """Return whether a stream begins behind another one in an Ogg (RFC 3533, section 4: chained streams).

    Its serial number may be that of the first. All pages are looked at, up to the first of that stream.

    Args:
        file: open for reading; it can seek, and its position is restored.
    """
    position, at, is_behind, has_begun = file.tell(), 0, False, False
    while not is_behind:
        file.seek(at)
        page = file.read(PAGE_HEAD + 255)
        if page[:4] == OGG and len(page) > PAGE_HEAD:
            is_first = bool(page[5] & FIRST_PAGE)
            is_behind, has_begun = is_first and has_begun, has_begun or not is_first
            at += PAGE_HEAD + page[26] + sum(page[PAGE_HEAD : PAGE_HEAD + page[26]])
            continue
        # Damaged: the next page is looked for.
        file.seek(at)
        rest = file.read(LARGEST_PAGE)
        found = rest.find(OGG, 1)
        if found < 0 and len(rest) < LARGEST_PAGE:
            break
        at += found if found > 0 else len(rest) - len(OGG) + 1
    file.seek(position)
    return is_behind
