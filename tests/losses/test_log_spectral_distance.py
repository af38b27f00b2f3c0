"""The loss is the distance in decibels of what is audible."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from audiotool.losses.log_spectral_distance import LogSpectralDistanceLoss


def noise(seed: int = 0, samples: int = 16000) -> Tensor:
    return torch.randn(2, 1, samples, generator=torch.Generator().manual_seed(seed))


def tone() -> Tensor:
    """500 Hz, which swells and fades: what begins at once has no end of frequencies."""
    wave = torch.sin(2 * torch.pi * 500 * torch.arange(16000) / 16000) * torch.hann_window(16000)
    return wave.expand(2, 1, -1)


def distance(estimate: Tensor, target: Tensor, **options: Any) -> float:
    return float(LogSpectralDistanceLoss(**options)({"estimate": estimate}, {"target": target}))


def test_a_gain_has_its_decibels() -> None:
    assert distance(noise() * 0.5, noise()) == pytest.approx(6.02, abs=0.05)
    assert distance(noise(), noise()) < 0.02
    assert distance(noise() * 1e-3, noise() * 2e-3) == pytest.approx(6.02, abs=0.05)


def test_quiet_frames_and_bins_below_the_floor_do_not_count() -> None:
    gains = torch.ones(16000)
    gains[8000:] = 1e-3
    wrong = torch.ones(16000)
    wrong[8400:] = 30.0
    assert distance(noise() * gains * wrong, noise() * gains) < 0.02
    assert distance(noise() * gains * wrong, noise() * gains, range_db=90.0) > 10
    assert distance(tone() + 1e-5 * noise(1), tone(), from_bin=128) < 1
    assert distance(tone() + 1e-5 * noise(1), tone(), from_bin=128, floor_db=160.0) > 10


def test_bins_below_the_first_do_not_count() -> None:
    below = distance(0.5 * tone(), tone(), from_bin=128), distance(0.5 * tone(), tone())
    assert below[0] < 0.1 * below[1]
    with pytest.raises(ValueError, match="from_bin must be one of the bins 0 to 256, found 257"):
        LogSpectralDistanceLoss(from_bin=257)


@pytest.mark.parametrize("target", [torch.zeros(2, 1, 16000), noise(3)])
def test_silence_has_a_gradient(target: Tensor) -> None:
    estimate = torch.zeros(2, 1, 16000, requires_grad=True)
    loss = LogSpectralDistanceLoss()({"estimate": estimate}, {"target": target})
    loss.backward()
    assert loss.isfinite()
    assert estimate.grad is not None
    assert estimate.grad.isfinite().all()


def test_an_example_of_silence_does_not_count() -> None:
    silent = torch.cat((noise()[:1], torch.zeros(1, 1, 16000)))
    assert distance(torch.cat((0.5 * noise()[:1], noise(1)[:1])), silent) == pytest.approx(6.02, abs=0.05)
