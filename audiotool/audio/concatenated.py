"""Recordings behind another one in the same file or pipe, as of `cat a.wav b.wav`.

The first recording is processed. A warning says that the others are left out, because they would be lost
without a trace: the sizes in the first header end before them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import BinaryIO

from audiotool.audio.magic import AIFF, ASF, AU, CAF, KIND_BYTES, OGG, WAV, kind_of

LARGEST_PAGE = 27 + 255 + 255 * 255
"""Greatest number of bytes of a page of an Ogg."""

PAGE_HEAD, FIRST_PAGE = 27, 2
"""Number of bytes of a page's head before the sizes of its segments; flag of the first page of a stream."""

MOST_CHUNKS = 1000
"""Greatest number of chunks that are looked at."""


def remark(name: str, kind: str) -> str:
    """Return the remark that another recording of a kind ("WAV") follows the one of a name."""
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
        is_behind = _follows(file, size, _caf_chunk, least=12, at=8)
    elif kind == "MP4":
        is_behind = _follows(file, size, _mp4_box, least=8)
    elif kind == "ASF":
        is_behind = _follows(file, size, _asf_object, least=24)
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
    if not KIND_BYTES <= end < size:
        return False
    file.seek(end - 1)
    return form.search(file.read(KIND_BYTES + 2)) is not None


def _follows(
    file: BinaryIO, size: int, chunk_of: Callable[[bytes], tuple[int, bool]], least: int, at: int = 0
) -> bool:
    """Return whether another recording follows a first one, both of which are rows of chunks.

    Args:
        size: of the file in bytes.
        chunk_of: function from a chunk's first bytes to its length in bytes, and to whether a recording
            begins with it.
        least: number of bytes of a chunk's head.
        at: position of the first chunk.
    """
    for _ in range(MOST_CHUNKS):
        file.seek(at)
        length, is_first = chunk_of(file.read(24))
        if is_first and at:
            return True
        at += length
        if length < least or at + least > size:
            return False
    return False


def _caf_chunk(head: bytes) -> tuple[int, bool]:
    # libsndfile pads an odd number of bytes, which the format does not ask for.
    return 12 + int.from_bytes(head[4:12], "big", signed=True), CAF in (head[:4], head[1:5])


def _mp4_box(head: bytes) -> tuple[int, bool]:
    length = _big_endian(head, 0)
    return int.from_bytes(head[8:16], "big") if length == 1 else length, head[4:8] == b"ftyp"


def _asf_object(head: bytes) -> tuple[int, bool]:
    return int.from_bytes(head[16:24], "little"), head.startswith(ASF)


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
