"""The channel-attention U-Net: attention is a distribution, masks do what they say, any array fits."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from audiotool.errors import InputError
from audiotool.models.ca_dense_unet import CADenseUNet, CADenseUNetConfig, ChannelAttention


def build(**config: Any) -> CADenseUNet:
    torch.manual_seed(0)
    small = {"n_fft": 128, "hop_length": 32, "channels": (6, 8, 8), "growth": 4, "dense_layers": 2}
    return CADenseUNet(CADenseUNetConfig(**{"microphones": 2, **small, **config})).eval()


@torch.no_grad()
def test_attention_rows_sum_to_one_over_the_source_channels() -> None:
    torch.manual_seed(0)
    attention, features = ChannelAttention(5, 7), torch.randn(2, 5, 9, 30)
    assert attention(features).shape == features.shape
    weights = attention.weights(features)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 9, 5))
    assert weights.std(-1).min() > 0


@torch.no_grad()
def test_a_mask_of_one_at_a_microphone_returns_that_microphone() -> None:
    model = build(microphones=3)
    model.mask.weight.zero_()
    assert model.mask.bias is not None
    model.mask.bias.zero_()
    model.mask.bias[1] = 1  # the real part of the second microphone's mask
    x = torch.randn(1, 3, 2000)
    torch.testing.assert_close(model.process(x)[:, 0], x[:, 1], atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("microphones", [1, 2, 7])
@pytest.mark.parametrize("length", [1, 500, 3001])
def test_any_array_and_length(microphones: int, length: int) -> None:
    assert build(microphones=microphones).process(torch.randn(2, microphones, length)).shape == (2, 1, length)


@torch.no_grad()
def test_output_follows_the_input_level() -> None:
    model, x = build(), torch.randn(1, 2, 3000) * 0.3
    torch.testing.assert_close(model.process(x * 0.1), model.process(x) * 0.1, atol=1e-4, rtol=1e-3)


def test_another_number_of_microphones_is_refused() -> None:
    with pytest.raises(InputError, match="made for 2 microphones, the input has 4"):
        build().process(torch.randn(1, 4, 1000))


def test_parameter_count_is_in_the_papers_range() -> None:
    assert 2_000_000 < CADenseUNet(CADenseUNetConfig()).parameter_count < 10_000_000


@pytest.mark.parametrize(("attention", "mask"), [(True, "complex"), (False, "complex"), (False, "real")])
def test_every_weight_learns_and_a_two_microphone_mixture_improves(attention: bool, mask: str) -> None:
    model = build(attention=attention, mask=mask).train()
    torch.manual_seed(1)
    speech = torch.sin(torch.arange(4000) * 0.2) * 0.3
    noise = torch.randn(4000) * 0.3
    # The noise reaches the second microphone 3 samples later, the speech at once.
    x = torch.stack((speech + noise, speech + noise.roll(3)))[None]
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    errors = []
    for _ in range(25):
        error = (model.process(x)[:, 0] - speech).square().mean()
        optimiser.zero_grad()
        error.backward()
        assert all(p.grad is not None for p in model.parameters())
        optimiser.step()
        errors.append(error.item())
    assert errors[-1] < 0.5 * noise.square().mean().item()
