"""An offset is removed without a transient, the rest stays, and chunks of any length give the same."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from audiotool.models.layers.offset_removal import OffsetRemoval

RATE, HOP = 48000, 512


def removed(x: Tensor, size: int) -> Tensor:
    layer = OffsetRemoval(2 * HOP, HOP, RATE)
    state, parts = None, []
    for chunk in x.split(size, dim=-1):
        part, state = layer(chunk, state)
        parts.append(part)
    return torch.cat([*parts, layer(x[..., :0], state, final=True)[0]], dim=-1)


def noise(rows: int, length: int) -> Tensor:
    return 0.1 * torch.randn(rows, length, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", [1, 100, HOP, 3 * HOP + 7])
def test_chunks_of_any_length_give_whole_hops_and_the_overlap(size: int) -> None:
    x = noise(2, 5 * HOP + 30) + torch.tensor([[0.0], [0.2]])
    whole = removed(x, x.shape[-1])
    assert whole.shape[-1] == 7 * HOP
    torch.testing.assert_close(removed(x, size), whole, atol=1e-6, rtol=0)


def test_an_offset_leaves_nothing_from_the_first_sample_on() -> None:
    offsets = torch.tensor([[1e-4], [-0.1], [0.5]])
    x = offsets.expand(3, 90 * HOP)
    assert (removed(x, HOP)[..., : 90 * HOP] / offsets).abs().max() < 1e-5


def test_an_offset_that_begins_later_falls_with_the_time_constant() -> None:
    x = noise(1, 4 * RATE) / 100
    x[:, RATE:] += 1
    y = removed(x, HOP)[0]
    assert y[RATE : RATE + HOP].mean() > 0.9
    for seconds, most in ((1, 0.37), (2, 0.14), (2.9, 0.06)):
        assert y[round((1 + seconds) * RATE)] < most


def test_digital_silence_stays_and_does_not_count() -> None:
    """Before the offset, after it and between."""
    x = torch.full((1, 60 * HOP), 0.1)
    for silence in (slice(0, 20 * HOP), slice(30 * HOP, 40 * HOP), slice(50 * HOP, None)):
        x[:, silence] = 0
    assert removed(x, HOP).abs().max() < 1e-7


def test_pauses_after_speech_get_no_offset() -> None:
    """Bursts as loud as speech, whose means are not 0, in noise 60 dB under them."""
    x = noise(1, 200 * HOP) / 1000
    quiet = x.clone()
    for first in range(20, 200, 40):
        x[:, first * HOP : (first + 20) * HOP] += 0.1 * torch.sin(torch.arange(20 * HOP) * 0.0137)
    pause = slice(40 * HOP, 60 * HOP)
    assert (removed(x, HOP)[:, pause] - quiet[:, pause]).mean().abs() < 2e-6


@pytest.mark.parametrize("hz", [80, 94, 140, 1000])
def test_speech_stays(hz: int) -> None:
    """Within 0.1 dB, and what it gets below and above lies 40 and 80 dB under it."""
    t = torch.arange(2 * RATE, dtype=torch.float64) / RATE
    tone = torch.sin(2 * torch.pi * hz * t).float()[None]
    y = removed(tone, HOP)[:, RATE : 2 * RATE]
    power = torch.fft.rfft(y * torch.hann_window(RATE)).abs().square()[0]
    itself = power[hz - 5 : hz + 6].sum()
    assert 10 * torch.log10(itself / (0.5 * 0.375 * RATE**2 / 2)).item() == pytest.approx(0, abs=0.1)
    power[hz - 5 : hz + 6] = 0
    assert power.sum() < 1e-4 * itself
    assert power[2000:].sum() < 1e-8 * itself
