"""How much of a recording a denoiser kept: whether there was anything but noise."""

from __future__ import annotations

from typing import Any

LEAST_KEPT = 0.05
"""A ratio of powers, -13 dB: speech alone, or in as much noise as it is heard through, keeps more."""


def is_kept(heard: Any, kept: Any) -> Any:
    """(B, C, T) before and (B, stems * C, T') after -> bool (B,), whether more was kept than noise leaves.

    Numpy's arrays or tensors. Silence is not kept.
    """
    return (kept * kept).sum((1, 2)) > LEAST_KEPT * (heard * heard).sum((1, 2))
