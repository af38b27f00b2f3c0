"""Whole-file STFTs of waveforms that are too short for a frame."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from audiotool.dsp.stft import stft
from audiotool.losses.base import make_loss


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("length", [1, 256, 400, 511])
def test_a_short_waveform_is_as_one_that_is_silent_afterwards(length: int, center: bool) -> None:
    torch.manual_seed(0)
    waveform = torch.randn(2, 1, length)
    least = 257 if center else 512
    padded = F.pad(waveform, (0, max(0, least - length)))
    expected = torch.stft(
        padded[:, 0], 512, 128, window=torch.hann_window(512), center=center, return_complex=True
    )
    torch.testing.assert_close(stft(waveform, 512, 128, center=center)[:, 0], expected)


@pytest.mark.parametrize(
    "name", ["band-envelope", "compressed-spectrum", "log-spectral-distance", "multi-resolution-stft"]
)
def test_losses_of_less_than_a_frame_fall_with_the_error(name: str) -> None:
    torch.manual_seed(0)
    target = torch.randn(1, 1, 100)
    error = torch.randn(1, 1, 100)
    loss = make_loss(name, {}, 16000)
    near, far = (
        float(loss({"estimate": target + share * error}, {"target": target})) for share in (0.01, 0.5)
    )
    assert near < far


def test_intelligibility_of_less_than_a_frame_is_zero() -> None:
    target = torch.randn(1, 1, 400)
    assert float(make_loss("intelligibility", {}, 16000)({"estimate": -target}, {"target": target})) == 0
