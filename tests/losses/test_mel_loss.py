"""Mel losses equal the official ones, and their gradients are usable."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from audiotool.errors import CheckpointError
from audiotool.losses.base import LOSSES, Loss
from audiotool.losses.mel import MelLoss, MultiScaleMelLoss

PACKS = Path(__file__).parents[1] / "data" / "parity"


def test_hifigan_mel_loss() -> None:
    tensors = load_file(PACKS / "hifigan" / "v1_small" / "io.safetensors")
    loss = MelLoss("hifigan-22k-full")
    found = loss({"estimate": tensors["generated"]}, {"target": tensors["wav"][:, None]})
    torch.testing.assert_close(45 * found, tensors["loss.mel_l1_x45"], rtol=1e-4, atol=0)


def test_vocos_mel_loss() -> None:
    tensors = load_file(PACKS / "vocos" / "mel_istft_center" / "io.safetensors")
    loss = MelLoss("vocos-24k")
    found = loss({"estimate": tensors["loss.y_hat"][:, None]}, {"target": tensors["wav"][:, None]})
    torch.testing.assert_close(found, tensors["loss.mel_l1"], rtol=1e-4, atol=0)


@pytest.mark.parametrize(("variant", "sample_rate"), [("v2_small", 24000), ("base_v1_small", 22050)])
def test_bigvgan_multi_scale_mel_loss(variant: str, sample_rate: int) -> None:
    tensors = load_file(PACKS / "bigvgan" / variant / "io.safetensors")
    loss = MultiScaleMelLoss(sample_rate)
    found = loss({"estimate": tensors["generated"]}, {"target": tensors["wav"][:, None]})
    torch.testing.assert_close(found, tensors["loss.multiscale_mel"], rtol=1e-4, atol=0)


@pytest.mark.parametrize("build", [lambda: MelLoss("vocos-24k"), lambda: MultiScaleMelLoss(24000)])
def test_gradient_is_finite_where_the_estimate_is_silent(build: Callable[[], Loss]) -> None:
    estimate = torch.zeros(1, 1, 4096, requires_grad=True)
    with torch.no_grad():
        estimate[..., 2048:] = 0.1 * torch.randn(2048)
    build()({"estimate": estimate}, {"target": torch.randn(1, 1, 4096)}).backward()
    assert estimate.grad.isfinite().all()  # type: ignore[union-attr]
    assert estimate.grad.abs().max() > 0  # type: ignore[union-attr]


def test_recipes_find_them() -> None:
    assert LOSSES.get("mel") is MelLoss
    assert LOSSES.get("multi-scale-mel") is MultiScaleMelLoss


def test_bad_options_are_refused() -> None:
    with pytest.raises(CheckpointError, match="no mel preset is called 'hifigan'"):
        MelLoss("hifigan")
    with pytest.raises(ValueError, match="one entry a scale"):
        MultiScaleMelLoss(24000, n_mels=(5, 10))
