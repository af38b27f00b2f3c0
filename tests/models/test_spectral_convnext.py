"""The spectral ConvNeXt leaves the band that was there alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from audiotool.models.spectral_convnext import SpectralConvNeXt, SpectralConvNeXtConfig


def build(**config: Any) -> SpectralConvNeXt:
    torch.manual_seed(0)
    return SpectralConvNeXt(SpectralConvNeXtConfig(dim=24, blocks=2, **config)).eval()


def band_energy(waveform: Tensor, low_hz: float, high_hz: float, sample_rate: int = 16000) -> float:
    spectrum = torch.fft.rfft(waveform * torch.hann_window(waveform.shape[-1])).abs().square()
    hz = torch.fft.rfftfreq(waveform.shape[-1], 1 / sample_rate)
    return spectrum[..., (hz >= low_hz) & (hz < high_hz)].sum().item()


@torch.no_grad()
@pytest.mark.parametrize("bandwidth_hz", [None, 5000.0])
def test_extension_adds_nothing_to_the_band_that_was_there(bandwidth_hz: float | None) -> None:
    model = build(head="extend", extend_from_hz=4000.0)
    time = torch.arange(16000) / 16000
    x = torch.sin(2 * torch.pi * 440 * time)[None, None] * 0.3
    added = model.process(x, bandwidth_hz=bandwidth_hz) - x
    edge = bandwidth_hz or 4000.0
    assert band_energy(added, 0, edge - 100) < 1e-3 * band_energy(added, edge, 8000)
    assert band_energy(added, edge, 8000) > 0


@torch.no_grad()
def test_restraint_lowers_the_added_band_in_inference_only() -> None:
    x = torch.randn(1, 1, 8000) * 0.1
    bold, restrained = (build(head="extend", restraint_db=db) for db in (0.0, 20.0))
    torch.testing.assert_close(restrained.process(x) - x, (bold.process(x) - x) * 0.1, atol=1e-6, rtol=1e-3)
    assert torch.equal(restrained.train().process(x), bold.train().process(x))
