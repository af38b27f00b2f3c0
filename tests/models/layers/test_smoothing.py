"""Upsampling with two moving averages, against the averages themselves."""

from __future__ import annotations

import pytest
import torch

from audiotool.models.layers.smoothing import SmoothUpsample


@pytest.mark.parametrize("replicate", [True, False])
@pytest.mark.parametrize("frames", [1, 2, 6])
def test_smooth_upsample_is_two_moving_averages(replicate: bool, frames: int) -> None:
    hop = 6
    x = torch.randn(2, 3, frames, generator=torch.Generator().manual_seed(0))
    left = (hop - 1) // 2
    expected = x.repeat_interleave(hop, dim=-1)
    for _ in range(2):
        mode = "replicate" if replicate else "constant"
        padded = torch.nn.functional.pad(expected, (left, hop - 1 - left), mode=mode)
        expected = torch.nn.functional.avg_pool1d(padded, hop, 1)
    smooth, _, _ = SmoothUpsample(hop, replicate)(x, None, final=True)
    assert torch.allclose(smooth, expected, atol=1e-6)
