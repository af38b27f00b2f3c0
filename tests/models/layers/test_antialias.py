"""Anti-aliased periodic activations equal the official ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from kit.parity import relative_error
from safetensors.torch import load_file
from torch import Tensor, nn

from audiotool.models.layers.antialias import AntiAliased, Snake, downsample, kaiser_sinc, upsample
from audiotool.models.layers.receptive_field import input_span

PACK = Path(__file__).parents[2] / "data" / "parity" / "bigvgan"


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    return load_file(PACK / "v2_small" / "io.safetensors")


def assert_parity(found: Tensor, expected: Tensor) -> None:
    assert relative_error(found, expected) <= 1e-4


def test_filter_and_resampling(tensors: dict[str, Tensor]) -> None:
    taps = kaiser_sinc(0.25, 0.3, 12)
    assert_parity(taps, tensors["resample.filter"][0, 0])
    assert_parity(upsample(tensors["act.x"], taps), tensors["resample.up2"])
    assert_parity(downsample(tensors["act.x"], taps), tensors["resample.down2"])


@pytest.mark.parametrize(("half_width", "beta"), [(0.05, 0.0), (0.2, 2.99), (0.3, 4.664)])
def test_window_follows_the_attenuation(half_width: float, beta: float) -> None:
    time = torch.arange(12) - 5.5
    shape = torch.kaiser_window(12, periodic=False, beta=beta) * torch.sinc(0.5 * time)
    torch.testing.assert_close(kaiser_sinc(0.25, half_width, 12), shape / shape.sum(), rtol=0, atol=2e-3)


@pytest.mark.parametrize("kind", ["snake", "snakebeta"])
@pytest.mark.parametrize("log_scale", [False, True])
def test_activations(tensors: dict[str, Tensor], kind: str, log_scale: bool) -> None:
    activation = Snake(3, beta=kind == "snakebeta", log_scale=log_scale)
    key = f"act.{kind}_log{int(log_scale)}"
    with torch.no_grad():
        activation.alpha.copy_(torch.tensor([0.3, 0.8, 1.4]))
        if activation.beta is not None:
            activation.beta.copy_(torch.tensor([0.9, 0.5, 1.2]))
        assert_parity(activation(tensors["act.x"]), tensors[key])
        assert_parity(AntiAliased(activation)(tensors["act.x"]), tensors[f"{key}_antialiased"])


def test_receptive_field_is_the_reach_of_gradients() -> None:
    layer = AntiAliased(nn.Identity()).double()
    x = torch.randn(1, 1, 60, dtype=torch.double, requires_grad=True)
    (grad,) = torch.autograd.grad(layer(x)[..., 30:33].sum(), x)
    touched = grad[0, 0].abs().gt(1e-12).nonzero().flatten()
    span = input_span(layer, (30, 32))
    assert span[0] <= int(touched[0])
    assert int(touched[-1]) <= span[1]
    assert int(touched[-1]) - int(touched[0]) >= span[1] - span[0] - 2
