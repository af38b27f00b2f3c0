"""Waveform losses, the compressed spectrum, and losses without an order of stems."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torchmetrics.functional.audio import (
    scale_invariant_signal_distortion_ratio,
    signal_noise_ratio,
)

from audiotool.losses.base import make_loss
from audiotool.losses.permutation_invariant import PermutationInvariantLoss
from audiotool.losses.spectrum import CompressedSpectrumLoss
from audiotool.losses.waveform import L1WaveformLoss, SISDRLoss, SNRLoss


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(3, 2, 4000, generator=generator)
    return target + 0.3 * torch.randn(3, 2, 4000, generator=generator) + 0.1, target


@pytest.mark.parametrize("zero_mean", [False, True])
def test_si_sdr_equals_torchmetrics(pair: tuple[torch.Tensor, torch.Tensor], zero_mean: bool) -> None:
    estimate, target = pair
    mine = SISDRLoss(zero_mean)({"estimate": 3 * estimate}, {"target": target})
    theirs = scale_invariant_signal_distortion_ratio(estimate, target, zero_mean).mean()
    torch.testing.assert_close(mine, -theirs, rtol=1e-4, atol=1e-4)


def test_snr_equals_torchmetrics_and_counts_the_level(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    estimate, target = pair
    mine = SNRLoss()({"estimate": estimate}, {"target": target})
    torch.testing.assert_close(mine, -signal_noise_ratio(estimate, target).mean(), rtol=1e-4, atol=1e-4)
    assert SNRLoss()({"estimate": 0.3 * estimate}, {"target": target}) > mine + 1
    assert SNRLoss(soft_limit_db=30)({"estimate": target}, {"target": target}) == pytest.approx(-30, abs=0.01)


def test_si_sdr_soft_limit_and_silence(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    _, target = pair
    perfect = SISDRLoss(soft_limit_db=30)({"estimate": target}, {"target": target})
    assert perfect == pytest.approx(-30, abs=0.01)
    estimate = torch.randn(1, 1, 100, requires_grad=True)
    SISDRLoss()({"estimate": estimate}, {"target": torch.zeros(1, 1, 100)}).backward()
    assert estimate.grad is not None
    assert estimate.grad.isfinite().all()


def test_compressed_spectrum(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    estimate, target = pair
    batch = {"target": target}
    assert CompressedSpectrumLoss()({"estimate": target}, batch) == 0
    # Negating changes phases alone.
    assert CompressedSpectrumLoss(complex_weight=0)({"estimate": -target}, batch) < 1e-10
    # With power 1 and complex_weight 1 it is the mean squared difference of spectra.
    window = torch.hann_window(512)
    spec = torch.stft((estimate - target).flatten(0, 1), 512, 128, window=window, return_complex=True)
    plain = CompressedSpectrumLoss(power=1.0, complex_weight=1.0)({"estimate": estimate}, batch)
    torch.testing.assert_close(plain, spec.abs().square().mean(), rtol=1e-4, atol=0)


def test_asymmetry_counts_only_missing_magnitudes(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    _, target = pair
    batch = {"target": target}
    for gain, ratio in ((0.5, 2.0), (2.0, 1.0)):
        plain = CompressedSpectrumLoss(complex_weight=0)({"estimate": gain * target}, batch)
        strict = CompressedSpectrumLoss(complex_weight=0, asymmetry=1.0)({"estimate": gain * target}, batch)
        assert strict / plain == pytest.approx(ratio, rel=1e-4)


def test_compressed_spectrum_has_a_finite_gradient_at_silence() -> None:
    estimate = torch.zeros(1, 1, 2000, requires_grad=True)
    CompressedSpectrumLoss()({"estimate": estimate}, {"target": torch.randn(1, 1, 2000)}).backward()
    assert estimate.grad is not None
    assert estimate.grad.isfinite().all()


@pytest.mark.parametrize("options", [{"power": 0.0}, {"power": 1.5}, {"complex_weight": 2.0}])
def test_compressed_spectrum_refuses(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="lies"):
        CompressedSpectrumLoss(**options)


@pytest.mark.parametrize(("loss", "inner"), [("si-sdr", SISDRLoss()), ("l1-waveform", L1WaveformLoss())])
def test_permutations_do_not_matter(loss: str, inner: torch.nn.Module) -> None:
    generator = torch.Generator().manual_seed(1)
    target = torch.randn(4, 3, 1000, generator=generator)
    estimate = target + 0.1 * torch.randn(4, 3, 1000, generator=generator)
    shuffled = torch.stack([item[torch.randperm(3, generator=generator)] for item in estimate])
    wrapped = PermutationInvariantLoss(loss, stems=3)
    expected = inner({"estimate": estimate}, {"target": target})
    value = wrapped({"estimate": shuffled}, {"target": target})
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(wrapped.align(shuffled, target), estimate)


def test_permutation_invariance_of_any_loss() -> None:
    target = torch.randn(2, 2, 2000, generator=torch.Generator().manual_seed(2))
    wrapped = PermutationInvariantLoss("compressed-spectrum", {"n_fft": 256})
    assert wrapped({"estimate": target.flip(1)}, {"target": target}) < 1e-10


@pytest.mark.parametrize("name", ["intelligibility", "perceptual-disturbance", "multi-scale-mel"])
def test_the_loss_inside_works_at_the_recipe_s_sample_rate(name: str) -> None:
    generator = torch.Generator().manual_seed(3)
    target = 0.1 * torch.randn(1, 2, 24000, generator=generator)
    estimate = target + 0.02 * torch.randn(1, 2, 24000, generator=generator)
    wrapped = make_loss("permutation-invariant", {"loss": name}, 48000)
    alone = make_loss(name, {}, 48000)
    stems = zip(estimate.split(1, 1), target.split(1, 1), strict=True)
    expected = sum(alone({"estimate": e}, {"target": t}) for e, t in stems) / 2
    value = wrapped({"estimate": estimate.flip(1)}, {"target": target})
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)


def test_permutation_invariance_refuses() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        PermutationInvariantLoss(stems=1)
    with pytest.raises(ValueError, match="another"):
        PermutationInvariantLoss("permutation-invariant")
