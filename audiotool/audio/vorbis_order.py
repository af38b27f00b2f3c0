"""The order of channels in Vorbis and Opus: left, centre, right, where WAV has left, right, centre.

libsndfile reads and writes the order of the file. Everything else in audiotool has WAV's.

Reference: Vorbis I, section 4.3.9; RFC 7845, section 5.1.1.2.
"""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

PLACES = {
    3: (0, 2, 1),
    5: (0, 2, 1, 3, 4),
    6: (0, 2, 1, 5, 3, 4),
    7: (0, 2, 1, 6, 5, 3, 4),
    8: (0, 2, 1, 7, 5, 6, 3, 4),
}
"""Number of channels -> the place in the file of each of WAV's channels. One, two and four have one order."""

CODINGS = ("VORBIS", "OPUS")

OPUS_HEAD = b"OpusHead"
HEAD_BEGIN = 28
"""Position of the first packet in an Ogg whose first page has one short packet."""
FAMILY = 18
"""Position in Opus's header of the mapping family."""
UNORDERED = 255
"""Mapping family of channels that have no speakers."""


def places(subtype: str, channels: int) -> tuple[int, ...] | None:
    """Return the place in a file of a coding of each of WAV's channels; None where they are the same."""
    return PLACES.get(channels) if subtype in CODINGS else None


def is_unordered(file: BinaryIO) -> bool:
    """Whether an Opus file says that its channels have no speakers; its position is restored."""
    at = file.tell()
    file.seek(HEAD_BEGIN)
    head = file.read(FAMILY + 1)
    file.seek(at)
    return head.startswith(OPUS_HEAD) and head[FAMILY:] == bytes([UNORDERED])


def as_wav(block: NDArray[Any], order: tuple[int, ...] | None) -> NDArray[Any]:
    """Return (n, channels) of a file in WAV's order."""
    return block if order is None else block[:, order]


def as_vorbis(block: NDArray[Any], order: tuple[int, ...] | None) -> NDArray[Any]:
    """Return (n, channels) of WAV's order in the file's."""
    return block if order is None else block[:, np.argsort(order)]
