"""The perceptual disturbance loss scores as PESQ does, and has a gradient wherever training may lead."""

import math

import numpy as np
import pesq
import pytest
import soxr
import torch
from torch import Tensor

from audiotool.losses.perceptual_disturbance import PerceptualDisturbanceLoss


def points(estimate: Tensor, target: Tensor) -> float:
    outputs, batch = {"estimate": estimate[None, None]}, {"target": target[None, None]}
    return float(PerceptualDisturbanceLoss()(outputs, batch))


def test_estimates_score_as_pesq_scores_them(speech: tuple[Tensor, Tensor]) -> None:
    clean, noise = speech
    spec = torch.stft(clean, 512, 128, window=torch.hann_window(512), return_complex=True)
    gated = torch.where(spec.abs() > 0.3, spec, 0.0)
    estimates = [clean + gain * noise for gain in (0.03, 0.1, 0.3, 1.0, 3.0)]
    estimates += [
        torch.istft(gated, 512, 128, window=torch.hann_window(512), length=len(clean)),
        clean.clamp(-0.05, 0.05),
        clean + 0.3 * noise.roll(16000),
    ]
    ours = [0.999 + 4 / (1 + math.exp(3.8224 - 1.3669 * (4.5 - points(e, clean)))) for e in estimates]
    theirs = [pesq.pesq(16000, clean.numpy(), e.numpy(), "wb") for e in estimates]
    assert np.corrcoef(ours, theirs)[0, 1] > 0.95
    assert np.abs(np.subtract(ours, theirs)).mean() < 0.3


def test_equal_waveforms_lose_nothing_at_any_level(speech: tuple[Tensor, Tensor]) -> None:
    clean, _ = speech
    assert points(clean, clean) < 1e-3
    assert points(0.1 * clean, clean) < 1e-2


def test_above_16_khz_the_points_are_the_same(speech: tuple[Tensor, Tensor]) -> None:
    """Of a signal at 48 kHz, and whatever lies above 8 kHz."""
    clean, noise = speech
    wide = [torch.from_numpy(soxr.resample(x.numpy(), 16000, 48000)) for x in (clean + 0.1 * noise, clean)]
    hiss = torch.fft.rfft(torch.randn(len(wide[0]), generator=torch.Generator().manual_seed(0)))
    hiss[: len(hiss) * 8500 // 24000] = 0
    wide[0] = wide[0] + 0.1 * torch.fft.irfft(hiss, len(wide[0]))
    loss = PerceptualDisturbanceLoss(sample_rate=48000)
    found = loss({"estimate": wide[0][None, None]}, {"target": wide[1][None, None]})
    assert float(found) == pytest.approx(points(clean + 0.1 * noise, clean), rel=0.05)
    with pytest.raises(ValueError, match="multiple of 16000"):
        PerceptualDisturbanceLoss(sample_rate=44100)


def test_the_first_and_last_samples_count(speech: tuple[Tensor, Tensor]) -> None:
    """A burst in the first or last 10 ms is heard, although frames that begin with it have a window there.

    It costs less than one in the middle, which lies in more stretches of 0.3 s.
    """
    clean, noise = speech

    def burst(start: int) -> float:
        estimate = clean.clone()
        estimate[start : start + 160] += 3 * noise[:160]
        return points(estimate, clean)

    middle = burst(len(clean) // 2)
    assert min(burst(0), burst(len(clean) - 160)) > 0.1 * middle > 0


@pytest.mark.parametrize("silent", ["estimate", "target", "both"])
def test_silence_has_a_finite_gradient(silent: str, speech: tuple[Tensor, Tensor]) -> None:
    clean = speech[0][:16000]
    estimate = clean.clone() if silent == "target" else torch.zeros_like(clean)
    target = clean if silent == "estimate" else torch.zeros_like(clean)
    estimate.requires_grad_()
    loss = PerceptualDisturbanceLoss()({"estimate": estimate[None, None]}, {"target": target[None, None]})
    loss.backward()
    assert estimate.grad is not None
    assert estimate.grad.isfinite().all()
