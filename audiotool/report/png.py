"""Write PNG pictures with a palette, 8 bits a pixel, without a library."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIGNATURE = b"\x89PNG\r\n\x1a\n"
BITS, INDEXED = 8, 3
FROM_THE_LEFT = 1
"""PNG's filter 1 (Sub): each pixel is stored as its difference from the one before it."""

Colour = tuple[int, int, int, int]
"""Red, green, blue and opacity, each 0 to 255."""

_MAGMA = (
    "000004 0a0822 1d1147 36106b 51127c 6a1c81 832681 9c2e7f b73779 d0416f e75263 f56b5c fc8961 fea772 fec488"
    " fde2a3 fcfdbf"
)
"""Matplotlib's magma (van der Walt and Smith, CC0) at 17 places."""


def encode(pixels: NDArray[np.uint8], palette: Sequence[Colour]) -> bytes:
    """Return a PNG of (height, width) indices into a palette of at most 256 colours."""
    height, width = pixels.shape
    lines = np.empty((height, width + 1), np.uint8)
    lines[:, 0] = FROM_THE_LEFT
    lines[:, 1:] = np.diff(pixels, axis=1, prepend=np.uint8(0))
    # Spectrograms do not repeat themselves: the search for repetitions takes five times as long and
    # compresses less.
    squeeze = zlib.compressobj(strategy=zlib.Z_RLE)
    colours = np.array(palette, np.uint8)
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, BITS, INDEXED, 0, 0, 0)),
        (b"PLTE", colours[:, :3].tobytes()),
        (b"tRNS", colours[:, 3].tobytes()),
        (b"IDAT", squeeze.compress(lines.tobytes()) + squeeze.flush()),
        (b"IEND", b""),
    )
    return SIGNATURE + b"".join(_chunk(kind, content) for kind, content in parts)


def magma(count: int) -> list[Colour]:
    """Return `count` colours from black over red to light yellow, for spectrograms."""
    anchors = np.array([list(bytes.fromhex(word)) for word in _MAGMA.split()], float)
    places = np.linspace(0, len(anchors) - 1, count)
    channels: list[Any] = [np.interp(places, np.arange(len(anchors)), column) for column in anchors.T]
    return [(round(r), round(g), round(b), 255) for r, g, b in zip(*channels, strict=True)]


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
