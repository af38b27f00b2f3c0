"""A tone rises in its own bin. (Equality with the reference is tested through the CQT discriminator.)"""

from __future__ import annotations

import pytest
import torch

from audiotool.dsp.cqt import FMIN, ConstantQ


@pytest.mark.parametrize("bin_number", [3, 12, 40, 71])
def test_a_tone_peaks_in_its_bin(bin_number: int) -> None:
    transform = ConstantQ(16000, 128, n_octaves=6, bins_per_octave=12)
    frequency = FMIN * 2 ** (bin_number / 12)
    tone = torch.sin(2 * torch.pi * frequency * torch.arange(32000) / 16000)
    spec = transform(tone[None, None])
    assert spec.shape == (1, 72, 32000 // 128 + 1)
    assert int(spec.abs().mean(dim=-1).argmax()) == bin_number
