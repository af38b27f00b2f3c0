"""The distance of an output from that of an official program."""

from __future__ import annotations

from torch import Tensor


def relative_error(found: Tensor, official: Tensor) -> float:
    """Return the greatest difference of two tensors of one shape, relative to the official one's RMS."""
    assert found.shape == official.shape
    return float((found - official).abs().max() / official.square().mean().sqrt())
