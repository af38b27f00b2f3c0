"""Files that end before their header says. What is missing libsndfile says only in its log, if at all."""

from __future__ import annotations

import os
import re
import struct
from typing import Any, BinaryIO

from audiotool.audio.concatenated import LARGEST_PAGE
from audiotool.audio.magic import OGG
from audiotool.audio.unclosed import MAX_HEADER, BrokenHeader, is_unknown, read_wav_header

SIZES = re.compile(r"\b(?:data|SSND|Data Size) *: (\d+) \(should be (\d+)\)")
"""What libsndfile logs of a WAV, an AIFF and an AU: the header's size of the samples, and the true one."""

NIST_COUNT = re.compile(rb"\nsample_count -i (\d+)")
"""The number of samples in the header of a NIST SPHERE file."""

NIST_HEADER = 1024
"""Usual number of bytes of such a header."""

OGG_END = 4
"""Flag of the last page of an Ogg stream (RFC 3533, section 6)."""

CUT = "Seems to be a truncated file"
"""What libsndfile logs of a VOC, not how long it should be."""

SKIPPED = "Corrupted bitstream"
"""What it logs of an Ogg with damaged pages, which it skips."""


def declared_frames(file: Any, source: BinaryIO) -> int | None:
    """Return how many samples the header of a truncated file promises; None if it promises no more than are
    there, or its size is a mark of an unknown one.

    Args:
        file: the open SoundFile.
        source: its bytes; the position is restored.
    """
    log = file.extra_info
    if (found := SIZES.search(log)) is not None:
        declared, actual = map(int, found.groups())
        declared = 0 if is_unknown(declared) else declared
    elif file.format in SIZED:
        position = source.tell()
        declared, actual = SIZED[file.format](file, source)
        source.seek(position)
    elif file.subtype.startswith("ALAC"):
        # Its packets differ in size: reading them tells.
        return None
    else:
        declared, actual = getattr(source, "sizes", (0, 0))
    return round(file.frames * declared / max(actual, 1)) if declared > actual and file.frames else None


def is_cut(file: Any, source: BinaryIO) -> bool:
    """Whether the end of an Ogg or a VOC is missing, of which neither has the length in its header."""
    if file.format != "OGG":
        return CUT in file.extra_info
    # libsndfile's log misses this flag in some whole files, too.
    size = source.seek(0, os.SEEK_END)
    source.seek(max(0, size - LARGEST_PAGE))
    end = source.read()
    page = end[max(0, end.rfind(OGG)) :]
    return (
        len(page) < 27 or not page[5] & OGG_END or len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]])
    )


def is_damaged(file: Any) -> bool:
    """Whether damaged pages of an Ogg have been skipped so far."""
    return SKIPPED in file.extra_info


def _nist(file: Any, source: BinaryIO) -> tuple[int, int]:
    source.seek(0)
    found = NIST_COUNT.search(source.read(NIST_HEADER))
    return (int(found[1]) if found else 0), file.frames


def _rf64(file: Any, source: BinaryIO) -> tuple[int, int]:
    """As `_w64`. The number of samples in ds64 is not asked: many programs leave it 0."""
    source.seek(12)
    try:
        header = read_wav_header(source)
    except BrokenHeader:
        return 0, 0
    begin = source.tell()
    return header.size if header.is_known else 0, source.seek(0, os.SEEK_END) - begin


def _w64(file: Any, source: BinaryIO) -> tuple[int, int]:
    """Return the size of the samples, by the header of their chunk and by the end of the file.

    Reference: Sony, Wave64: a chunk has a name of 16 bytes and a size that counts its head, and begins at a
    multiple of 8.
    """
    at, end = 40, source.seek(0, os.SEEK_END)
    while at + 24 <= end and at < MAX_HEADER:
        source.seek(at)
        name, size = struct.unpack("<4s12xq", source.read(24))
        if name == b"data" or size < 24:
            return size - 24, end - at - 24
        at += size + -size % 8
    return 0, 0


SIZED = {"NIST": _nist, "RF64": _rf64, "W64": _w64}
"""Formats of which libsndfile logs no sizes -> what the header says, and what is there."""
