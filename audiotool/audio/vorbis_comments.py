"""Vorbis comments, the tags of FLAC and Ogg: a list of KEY=value behind the name of the encoder ("vendor").

Reference: Xiph.org, Ogg Vorbis I format specification: comment field and header specification.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Set


def comments(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield key and value of each comment of a block; keys are in capitals."""
    at = 4 + struct.unpack_from("<I", data)[0]
    (count,) = struct.unpack_from("<I", data, at)
    at += 4
    for _ in range(count):
        if at + 4 > len(data):
            return
        (size,) = struct.unpack_from("<I", data, at)
        key, _, value = data[at + 4 : at + 4 + size].partition(b"=")
        yield key.decode("ascii", "replace").upper(), value
        at += 4 + size


def without_comments(data: bytes, left: Set[str]) -> bytes:
    """Return a block without some comments, by their keys, and without the vendor: an output has another."""
    return packed((key, value) for key, value in comments(data) if key not in left)


def packed(found: Iterable[tuple[str, bytes]]) -> bytes:
    """Return a block of comments without a vendor."""
    fields = [key.encode("ascii", "replace") + b"=" + value for key, value in found]
    return struct.pack("<II", 0, len(fields)) + b"".join(struct.pack("<I", len(f)) + f for f in fields)
