"""Files that end before their header says. What is missing libsndfile says only in its log, if at all."""

from __future__ import annotations

import os
import re
import struct
from typing import Any, BinaryIO

from audiotool.audio.concatenated import LARGEST_PAGE
from audiotool.audio.magic import OGG
from audiotool.audio.unclosed import MAX_HEADER, is_unknown

SIZES = re.compile(r"\b(?:data|SSND|Data Size) *: (\d+) \(should be (\d+)\)")
"""What libsndfile logs of a WAV, an AIFF and an AU: the header's size of the samples, and the true one."""

COUNTS = re.compile(r"frame count (\d+) does not match value from 'ds64' chunk of (\d+)")
"""What it logs of an RF64: the true number of samples, and the header's."""

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
    if (found := COUNTS.search(log)) is not None:
        actual, declared = map(int, found.groups())
    elif (found := SIZES.search(log)) is not None:
        declared, actual = map(int, found.groups())
        declared = 0 if is_unknown(declared) else declared
    elif file.format in ("W64", "NIST"):
        position = source.tell()
        declared, actual = _nist(file, source) if file.format == "NIST" else _w64(source)
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


def _w64(source: BinaryIO) -> tuple[int, int]:
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
