"""Losses against the values of the official implementations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from audiotool.losses.adversarial import discriminator_loss, feature_matching_loss, generator_loss
from audiotool.losses.multi_resolution_stft import MultiResolutionSTFTLoss
from audiotool.losses.waveform import L1WaveformLoss, L2WaveformLoss

PARITY = Path(__file__).parents[1] / "data" / "parity"


@pytest.fixture(scope="module")
def cleanunet() -> dict[str, Tensor]:
    return load_file(PARITY / "cleanunet_training" / "training.safetensors")


@pytest.mark.parametrize(
    ("variant", "weight", "band"),
    [("full", 0.5, "full"), ("high", 0.5, "high-published"), ("defaults", 0.1, "full")],
)
def test_cleanunet_stft_loss_and_its_gradient(
    cleanunet: dict[str, Tensor], variant: str, weight: float, band: Any
) -> None:
    loss = MultiResolutionSTFTLoss(spectral_convergence=weight, log_magnitude=weight, band=band)
    estimate = cleanunet["loss.denoised"].clone().requires_grad_()
    terms = loss.terms(estimate, cleanunet["loss.clean"])
    if variant == "defaults":
        # The class, unlike the configurations, has the smallest FFT last.
        terms = terms.roll(-1, dims=0)
    torch.testing.assert_close(
        terms, cleanunet[f"loss.{variant}.per_resolution_sc_mag_unweighted"], rtol=1e-4, atol=0
    )
    value = loss({"estimate": estimate}, {"target": cleanunet["loss.clean"]})
    torch.testing.assert_close(value, cleanunet[f"loss.{variant}.sc_mag"].sum(), rtol=1e-4, atol=0)
    value.backward()
    expected = cleanunet[f"loss.{variant}.grad_wrt_denoised"]
    assert estimate.grad is not None
    assert (estimate.grad - expected).abs().max() <= 1e-3 * expected.abs().max()


def test_high_band_as_described_ignores_low_frequencies() -> None:
    t = torch.arange(16000) / 16000
    low = torch.sin(2 * torch.pi * 500 * t)[None, None]
    high = 0.1 * torch.sin(2 * torch.pi * 6000 * t)[None, None]
    loss = MultiResolutionSTFTLoss(band="high", log_magnitude=0.0)
    same_high = loss({"estimate": high + 0.5 * low}, {"target": high + low})
    other_high = loss({"estimate": 0.5 * high + low}, {"target": high + low})
    assert same_high < 0.05
    assert other_high == pytest.approx(0.5, abs=0.05)


def test_cleanunet_waveform_losses(cleanunet: dict[str, Tensor]) -> None:
    outputs, batch = {"estimate": cleanunet["loss.denoised"]}, {"target": cleanunet["loss.clean"]}
    torch.testing.assert_close(L1WaveformLoss()(outputs, batch), cleanunet["loss.l1"], rtol=1e-5, atol=0)
    torch.testing.assert_close(L2WaveformLoss()(outputs, batch), cleanunet["loss.l2"], rtol=1e-5, atol=0)


@pytest.mark.parametrize("variant", ["v1_small", "v3_causal_melgan_disc"])
def test_parallel_wavegan_stft_loss(variant: str) -> None:
    pack = load_file(PARITY / "parallel_wavegan" / variant / "io.safetensors")
    loss = MultiResolutionSTFTLoss((1024, 2048, 512), (120, 240, 50), (600, 1200, 240))
    terms = loss.terms(pack["output"], pack["target"])
    torch.testing.assert_close(terms, pack["loss.per_resolution"], rtol=1e-4, atol=0)
    torch.testing.assert_close(terms.mean(0), pack["loss.mrstft_sc_mag"], rtol=1e-4, atol=0)


def test_parallel_wavegan_adversarial_losses() -> None:
    pack = load_file(PARITY / "parallel_wavegan" / "v1_small" / "io.safetensors")
    real: list[tuple[Tensor, list[Tensor]]] = [(pack["disc_real_0"], [])]
    fake: list[tuple[Tensor, list[Tensor]]] = [(pack["disc_fake_0"], [])]
    kind: Any
    for kind, suffix in (("least-squares", ""), ("hinge-linear", "_hinge")):
        value = generator_loss(fake, kind, "mean")
        torch.testing.assert_close(value, pack[f"loss.gen_adv{suffix}"], rtol=1e-4, atol=0)
        expected = pack[f"loss.dis_real_fake{suffix}"].sum()
        torch.testing.assert_close(discriminator_loss(real, fake, kind, "mean"), expected, rtol=1e-4, atol=0)


def test_melgan_losses_average_scales() -> None:
    pack = load_file(PARITY / "parallel_wavegan" / "v3_causal_melgan_disc" / "io.safetensors")
    # The pack keeps the last feature and the logits of each of two scales.
    real = [(pack[f"disc_real_{n}"], [pack[f"disc_real_{n - 1}"]]) for n in (4,)]
    fake = [(pack[f"disc_fake_{n}"], [pack[f"disc_fake_{n - 1}"]]) for n in (4, 9)]
    reduction: Any
    for reduction, factor in (("mean", 1), ("sum", 2)):
        value = generator_loss(fake, reduction=reduction)
        torch.testing.assert_close(value, factor * pack["loss.gen_adv"], rtol=1e-4, atol=0)
    distance = (pack["disc_real_3"] - pack["disc_fake_3"]).abs().mean()
    torch.testing.assert_close(feature_matching_loss(real, fake[:1]), distance)


def test_feature_matching_reductions() -> None:
    ones, zeros = torch.ones(2, 3), torch.zeros(2, 3)
    real = [(ones, [ones, 3 * ones]), (ones, [5 * ones, 7 * ones])]
    fake = [(ones, [zeros, zeros]), (ones, [zeros, zeros])]
    assert feature_matching_loss(real, fake) == 16
    assert feature_matching_loss(real, fake, "mean", "mean") == 4


def test_hinge_generator_stops_at_the_margin() -> None:
    fake: list[tuple[Tensor, list[Tensor]]] = [(torch.tensor([2.0, -1.0]), [])]
    assert generator_loss(fake, "hinge") == 1.0
    assert generator_loss(fake, "hinge-linear") == -0.5
