"""F0 of signals whose F0 is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from audiotool.dsp.pitch import fundamental_frequency


def harmonic(frequency: float, sample_rate: int, seconds: float = 0.5, amplitude: float = 0.2) -> Tensor:
    t = torch.arange(round(seconds * sample_rate)) / sample_rate
    return amplitude * torch.stack([torch.sin(2 * math.pi * frequency * k * t) / k for k in range(1, 7)]).sum(
        0
    )


@pytest.mark.parametrize("sample_rate", [16000, 22050, 48000])
@pytest.mark.parametrize("frequency", [60.0, 65.0, 110.3, 220.7, 333.0, 480.0])
def test_known_tones(frequency: float, sample_rate: int) -> None:
    found = fundamental_frequency(harmonic(frequency, sample_rate)[None], sample_rate, sample_rate // 100)
    assert found.shape == (1, 51)
    inner = found[0, 5:-5]
    assert torch.allclose(inner, torch.tensor(frequency), rtol=2e-3)


def test_a_glide_is_followed() -> None:
    sample_rate = 16000
    frequency = torch.linspace(100, 300, sample_rate)
    phase = 2 * math.pi * frequency.double().cumsum(0) / sample_rate
    x = torch.stack([torch.sin(k * phase) / k for k in range(1, 6)]).sum(0).float()
    found = fundamental_frequency(0.1 * x[None], sample_rate, 160)[0]
    centres = frequency[::160]
    assert (found[5:95] - centres[5:95]).abs().max() < 4


@pytest.mark.parametrize("mean", [100, 150, 220, 300])
def test_frames_are_centred_at_every_pitch(mean: int) -> None:
    """The track of a vibrato fits F0 best where it is not shifted."""
    sample_rate, hop_length = 16000, 80
    time = torch.arange(4 * sample_rate, dtype=torch.float64) / sample_rate
    frequency = mean * (1 + 0.2 * torch.sin(4 * torch.pi * time))
    phase = 2 * torch.pi * frequency.cumsum(0) / sample_rate
    x = torch.stack([torch.sin(k * phase) / k for k in range(1, 12)]).sum(0).float()
    found = fundamental_frequency(0.1 * x[None], sample_rate, hop_length)[0, 40:-40]
    centres = torch.arange(40, 40 + len(found)) * hop_length
    shifts = range(-160, 161, 4)
    errors = [(found - frequency[centres + shift]).abs().median() for shift in shifts]
    best = shifts[int(torch.stack(errors).argmin())]
    assert abs(best) <= 0.0005 * sample_rate


def test_noise_and_silence_are_unvoiced() -> None:
    noise = 0.1 * torch.randn(1, 16000, generator=torch.Generator().manual_seed(0))
    assert (fundamental_frequency(noise, 16000, 160) > 0).float().mean() < 0.02
    assert not fundamental_frequency(torch.zeros(1, 16000), 16000, 160).any()
    assert not fundamental_frequency(harmonic(200, 16000, amplitude=1e-5)[None], 16000, 160).any()


def test_pieces_and_batches_change_nothing() -> None:
    x = torch.stack([harmonic(150, 16000), harmonic(250, 16000)])
    whole = fundamental_frequency(x, 16000, 160)
    assert torch.allclose(fundamental_frequency(x, 16000, 160, frames_at_once=7), whole, rtol=1e-4)
    assert torch.allclose(fundamental_frequency(x[1:], 16000, 160), whole[1:], rtol=1e-4)


@pytest.mark.parametrize("length", [0, 1, 159, 160])
def test_short_waveforms(length: int) -> None:
    assert fundamental_frequency(torch.zeros(1, length), 16000, 160).shape == (1, length // 160 + 1)
