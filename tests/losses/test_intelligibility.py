"""The intelligibility loss scores as STOI does, and has a gradient wherever training may lead."""

import numpy as np
import pystoi
import pytest
import torch
from torch import Tensor

from audiotool.errors import RecipeError
from audiotool.losses.base import make_loss
from audiotool.losses.intelligibility import IntelligibilityLoss


def loss(estimate: Tensor, target: Tensor) -> Tensor:
    """Waveforms (T,) or (B, T)."""
    outputs, batch = (
        {k: w.reshape(-1, 1, w.shape[-1])} for k, w in (("estimate", estimate), ("target", target))
    )
    return IntelligibilityLoss()(outputs, batch)


def test_estimates_score_as_stoi_scores_them(speech: tuple[Tensor, Tensor]) -> None:
    clean, noise = speech
    window = torch.hann_window(512)
    spec = torch.stft(clean, 512, 128, window=window, return_complex=True)
    gated = torch.istft(torch.where(spec.abs() > 0.3, spec, 0.0), 512, 128, window=window, length=len(clean))
    estimates = [clean + gain * noise for gain in (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)]
    estimates += [gated, gated + noise, noise, clean.clamp(-0.05, 0.05), clean.roll(1600)]
    ours = [1 - float(loss(e, clean)) for e in estimates]
    theirs = [pystoi.stoi(clean.numpy(), e.numpy(), 16000) for e in estimates]
    assert np.corrcoef(ours, theirs)[0, 1] > 0.99
    assert np.abs(np.subtract(ours, theirs)).max() < 0.05


def test_equal_waveforms_lose_nothing_at_any_level(speech: tuple[Tensor, Tensor]) -> None:
    clean, _ = speech
    assert float(loss(clean, clean)) == pytest.approx(0.0, abs=1e-4)
    assert float(loss(0.1 * clean, clean)) == pytest.approx(0.0, abs=2e-3)


def test_pauses_do_not_count(speech: tuple[Tensor, Tensor]) -> None:
    clean, noise = speech
    noisy = clean + noise
    gap = torch.zeros(16000)
    apart = loss(torch.cat((noisy, gap)), torch.cat((clean, gap)))
    noise_in_the_gap = loss(torch.cat((noisy, noise[:16000])), torch.cat((clean, gap)))
    assert float(apart) == pytest.approx(float(loss(noisy, clean)), abs=5e-3)
    assert float(noise_in_the_gap) == pytest.approx(float(apart), abs=5e-3)


def test_an_example_without_speech_leaves_the_others_as_they_are(speech: tuple[Tensor, Tensor]) -> None:
    clean, noise = speech
    target = torch.stack((clean, torch.zeros_like(clean)))
    both = loss(target + noise, target)
    assert float(both) == pytest.approx(float(loss(clean + noise, clean)), abs=1e-6)


@pytest.mark.parametrize("silent", ["estimate", "target", "both"])
def test_silence_has_a_finite_gradient(silent: str, speech: tuple[Tensor, Tensor]) -> None:
    clean = speech[0][:32000]
    estimate = clean.clone() if silent == "target" else torch.zeros_like(clean)
    target = clean if silent == "estimate" else torch.zeros_like(clean)
    estimate.requires_grad_()
    loss(estimate, target).backward()
    assert estimate.grad is not None
    assert estimate.grad.isfinite().all()


@pytest.mark.parametrize("sample_rate", [4000, 6000, 6700])
def test_rates_without_the_highest_band_are_refused(sample_rate: int) -> None:
    with pytest.raises(RecipeError, match=f"too low for the band at 3810 Hz, found {sample_rate}"):
        make_loss("intelligibility", {}, sample_rate)


@pytest.mark.parametrize("sample_rate", [6900, 8000, 11025, 48000])
def test_every_other_rate_has_a_loss_of_zero(sample_rate: int) -> None:
    noise = torch.randn(1, 1, sample_rate, generator=torch.Generator().manual_seed(0))
    equal = make_loss("intelligibility", {}, sample_rate)({"estimate": noise}, {"target": noise})
    assert float(equal) == pytest.approx(0.0, abs=1e-4)
