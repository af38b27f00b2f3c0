"""Matrices between the bins of a spec and rectangular bands of neighbouring bins, given the bands' widths."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def membership(widths: Sequence[int]) -> Tensor:
    """Return (bins, bands), 1 where a bin belongs to a band."""
    return torch.from_numpy(np.repeat(np.eye(len(widths), dtype=np.float32), widths, axis=0))


def band_means(widths: Sequence[int]) -> Tensor:
    """Return (bins, bands), which takes the mean of each band's bins."""
    rows = np.repeat(np.diag(1 / np.asarray(widths)), widths, axis=1)
    return torch.from_numpy(rows.astype(np.float32)).T


def interpolation(widths: Sequence[int]) -> Tensor:
    """Return (bands, bins), linear interpolation between the centres of the bands, constant beyond."""
    edges = np.cumsum([0, *widths])
    centres = (edges[:-1] + edges[1:] - 1) / 2
    rows = [np.interp(np.arange(edges[-1]), centres, row) for row in np.eye(len(widths))]
    return torch.from_numpy(np.stack(rows).astype(np.float32))
