"""Convert float samples to integers, and count samples beyond full scale."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatBlock = NDArray[np.floating]


def limited_words(count: int, peak: float) -> str:
    """Return the remark that samples beyond full scale were limited.

    Args:
        count: number of samples.
        peak: greatest sample before; 1 is full scale.
    """
    what = "sample beyond full scale was" if count == 1 else "samples beyond full scale were"
    return f"{count} {what} limited (peak {peak:.3f})"


def rounded(block: FloatBlock, bits: int) -> tuple[FloatBlock, int]:
    """Round to integers of `bits` bits, as floating point.

    The scale is that with which libsndfile reads (full scale is 2^(bits-1)), so that unchanged samples are
    written bit for bit.

    Args:
        block: (frames, channels) in [-1, 1).
        bits: 8 to 32.
    Returns:
        The integers, and the number of samples beyond full scale, which were limited.
    """
    scale = float(1 << (bits - 1))
    # float32 holds every integer of 24 bits, and a power of two rounds nothing.
    exact = np.float32 if bits <= 24 and block.dtype == np.float32 else np.float64
    with np.errstate(over="ignore"):
        scaled = block.astype(exact, copy=False) * exact(scale)
    np.rint(scaled, out=scaled)
    beyond = 0
    if not (-scale <= scaled.min(initial=0.0) and scaled.max(initial=0.0) < scale):
        # +1.0 is one step above the largest integer. Limiting it by one step is not counted.
        beyond = int(np.count_nonzero(np.abs(scaled) > scale))
        np.clip(scaled, -scale, scale - 1, out=scaled)
    return scaled, beyond


def quantise(block: FloatBlock, bits: int) -> tuple[NDArray[np.int32], int]:
    """As `rounded`, left-justified in integers of 32 bits, which libsndfile takes."""
    values, beyond = rounded(block, bits)
    return values.astype(np.int32) << (32 - bits), beyond


def limit(block: FloatBlock) -> tuple[FloatBlock, int]:
    """Limit to [-1, 1] for sample formats with a full scale; also return the number of limited samples."""
    beyond = int(np.count_nonzero(np.abs(block) > 1.0))
    return (np.clip(block, -1.0, 1.0) if beyond else block), beyond
