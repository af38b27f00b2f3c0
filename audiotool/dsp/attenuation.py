"""Detect recordings that contain only noise, by the power that a denoiser keeps."""

from __future__ import annotations

from typing import Any

import numpy as np

LEAST_KEPT = 0.05
"""Ratio of powers, -13 dB. A denoiser keeps more power of any speech that is audible in its noise."""


def is_kept(noisy: Any, enhanced: Any) -> Any:
    """Return for each row whether its output has more power than a denoiser leaves of noise, bool (B,).

    Args:
        noisy: (B, C, T) input, an array or a tensor.
        enhanced: (B, stems * C, T') output. Silence has no power, and is not kept.
    """
    # Powers of samples far beyond full scale are infinite, which compares as not kept.
    with np.errstate(over="ignore", invalid="ignore"):
        return (enhanced * enhanced).sum((1, 2)) > LEAST_KEPT * (noisy * noisy).sum((1, 2))
