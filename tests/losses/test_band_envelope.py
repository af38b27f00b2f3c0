"""The band envelope loss has its minimum at the given quantile of levels."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from audiotool.losses.band_envelope import BandEnvelopeLoss


@pytest.mark.parametrize("quantile", [0.2, 0.5])
def test_the_best_constant_level_is_the_quantile_of_the_levels(quantile: float) -> None:
    torch.manual_seed(0)
    noise = torch.randn(1, 1, 16000)
    target = torch.cat([noise * gain for gain in (0.1, 0.2, 0.4, 0.8, 1.6)])
    loss = BandEnvelopeLoss(quantile=quantile)
    gains = torch.tensor([0.05, 0.1, 0.2, 0.4, 0.8, 1.6])
    values = [
        float(loss({"estimate": (noise * gain).expand(5, -1, -1)}, {"target": target})) for gain in gains
    ]
    best = gains[torch.tensor(values).argmin()]
    # A fifth of five levels is at most the first, a half is below the third.
    assert best in ((0.1, 0.2) if quantile == 0.2 else (0.4,))


def test_bands_below_the_first_do_not_count() -> None:
    tone = torch.sin(2 * torch.pi * 500 * torch.arange(8000) / 16000) * torch.hann_window(8000)
    waveforms = {"estimate": tone[None, None]}, {"target": tone[None, None] * 0.5}
    everywhere, above = (float(BandEnvelopeLoss(from_bin=first)(*waveforms)) for first in (0, 128))
    assert above < 0.1 * everywhere


def test_silence_has_a_gradient() -> None:
    estimate = torch.zeros(1, 1, 4000, requires_grad=True)
    BandEnvelopeLoss()({"estimate": estimate}, {"target": torch.zeros(1, 1, 4000)}).backward()
    assert estimate.grad is not None
    assert estimate.grad.isfinite().all()


@pytest.mark.parametrize("options", [{"quantile": 1.0}, {"from_bin": 255}])
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        BandEnvelopeLoss(**options)
