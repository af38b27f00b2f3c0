"""Recordings behind another one in the same file or pipe, as of `cat a.wav b.wav`.

The first recording is processed. A warning says that the others are left out, because they would be lost
without a trace: the sizes in the first header end before them.
"""

from __future__ import annotations

import os
import re
import struct
from typing import BinaryIO

from audiotool.audio.magic import AIFF, AU, CAF, OGG, WAV, kind_of

FORM = struct.Struct("<4sI4s")
"""The beginning of a RIFF file: its kind, its size, what it holds."""

LARGEST_PAGE = 27 + 255 + 255 * 255
"""Greatest number of bytes of a page of an Ogg."""

MOST_CHUNKS = 1000
"""Greatest number of chunks or pages that are looked at."""


def warning(name: str, kind: str) -> str:
    """Return the warning that another recording of a kind ("WAV") follows the one of a name."""
    return f"{name} goes on with another {kind}, which is left out: give one recording at a time"


def kind_behind(file: BinaryIO) -> str | None:
    """Return the kind of a file ("WAV") if another recording of its kind lies behind the first, else None.

    Kinds are those in which libsndfile reads the first recording alone: WAV, AIFF, AU, CAF, and Ogg with
    another serial number.

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
    elif kind == "Ogg":
        is_behind = _is_ogg_behind(file, size)
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


def _is_ogg_behind(file: BinaryIO, size: int) -> bool:
    """Return whether the last page belongs to a stream that does not begin with the file (RFC 3533,
    section 4: chained streams)."""
    serials, at = set(), 0
    for _ in range(MOST_CHUNKS):
        file.seek(at)
        page = file.read(27 + 255)
        if len(page) < 27 or page[:4] != OGG or not page[5] & 2:
            break
        serials.add(page[14:18])
        at += 27 + page[26] + sum(page[27 : 27 + page[26]])
    file.seek(max(0, size - LARGEST_PAGE))
    end = file.read()
    last = end.rfind(OGG)
    serial = end[last + 14 : last + 18]
    return last >= 0 and len(serial) == 4 and bool(serials) and serial not in serials
