"""The harmonic vocoder's losses: zero where nothing differs, blind where there is nothing to learn."""

from __future__ import annotations

import pytest
import torch

from audiotool.losses.harmonic_spectrum import LogMagnitudeLoss, PitchLoss


def test_log_magnitude_is_in_nepers_and_loud_bins_count_more_when_compressed() -> None:
    target = torch.tensor([[[2.0], [-6.0]]])
    outputs = {"log_magnitude": target + 0.5, "target_log_magnitude": target}
    assert LogMagnitudeLoss(compressed=0.0)(outputs, {}).item() == pytest.approx(0.5)
    assert LogMagnitudeLoss()({**outputs, "log_magnitude": target}, {}).item() == 0
    loud, quiet = (
        LogMagnitudeLoss()({**outputs, "log_magnitude": target + torch.tensor(change)}, {})
        for change in ([[0.5], [0.0]], [[0.0], [0.5]])
    )
    assert loud > 1.2 * quiet


def test_pitch_of_unvoiced_frames_does_not_count() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 4, 3, generator=generator)
    classes = torch.zeros(1, 4, 3)
    classes[:, 1] = 1
    outputs = {
        "pitch_logits": logits,
        "pitch_classes": classes,
        "voicing_logit": torch.tensor([[20.0, -20.0, 20.0]]),
        "target_f0": torch.tensor([[100.0, 0.0, 100.0]]),
    }
    changed = logits.clone()
    changed[:, :, 1] += torch.randn(4, generator=generator)
    assert PitchLoss()({**outputs, "pitch_logits": changed}, {}) == PitchLoss()(outputs, {})
    right = {**outputs, "pitch_logits": 50 * classes}
    assert PitchLoss()(right, {}) < 1e-6
    assert PitchLoss()({**right, "voicing_logit": torch.zeros(1, 3)}, {}).item() == pytest.approx(
        0.6931, 1e-3
    )
