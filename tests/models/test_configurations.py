"""Values that do not fit each other are refused with their key, not by the first step."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from audiotool.errors import CheckpointError
from audiotool.models.registry import MODELS


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("gtcrn", {"channels": 6}, "channels must be a multiple of 4, found 6"),
        ("cleanunet", {"transformer_heads": 3}, r"transformer_dim \(16\) must be .* transformer_heads \(3\)"),
        ("cleanunet", {"channels_input": 2}, "channels_input: found 2, should be 1"),
        ("hifigan", {"resblock_kernel_sizes": [2]}, r"resblock_kernel_sizes must be odd, found \(2,\)"),
        ("bigvgan", {"resblock_kernel_sizes": [6]}, r"resblock_kernel_sizes must be odd, found \(6,\)"),
        (
            "hifigan",
            {"upsample_kernel_sizes": [32, 15]},
            r"sizes \(32, 15\) must be at least",
        ),
        (
            "bigvgan",
            {"upsample_kernel_sizes": [15, 32]},
            r"sizes \(15, 32\) must be at least",
        ),
        ("wavenet", {"gate_channels": 3}, "gate_channels must be even, found 3"),
        ("parallel-wavegan", {"gate_channels": 1}, "gate_channels must be even, found 1"),
        ("conv-tasnet", {"filter_length": 1}, "filter_length: found 1, should be greater than or equal to 2"),
        ("hybrid-demucs", {"time_stride": 5}, "time_stride must be 1 or even, found 5"),
    ],
)
def test_values_that_make_no_network_are_refused(name: str, values: dict[str, Any], message: str) -> None:
    model_class = MODELS.get(name)
    with pytest.raises(CheckpointError, match=message):
        model_class.from_config({**model_class.small, **values})


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("gtcrn", {"channels": 4}),
        ("hifigan", {"resblock_kernel_sizes": [1], "upsample_kernel_sizes": [16, 17]}),
        ("parallel-wavegan", {"gate_channels": 2}),
        ("conv-tasnet", {"filter_length": 2}),
        ("hybrid-demucs", {"time_stride": 1}),
    ],
)
def test_values_at_the_limit_make_networks(name: str, values: dict[str, Any]) -> None:
    model_class = MODELS.get(name)
    model = model_class.from_config({**model_class.small, **values}).eval()
    length = 8 if model.upsampling > 1 else 4003
    y = model.process(torch.randn(1, model.input_channels, length))
    assert y.shape[-1] == model.output_length(length)
