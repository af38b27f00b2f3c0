"""Cumulative normalisation equals its definition, frame by frame, and does not drift."""

import torch

from audiotool.models.layers.norm import CumulativeLayerNorm


def test_each_frame_is_normalised_by_itself_and_the_past() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 5, 40) * 3 + 1
    y, _ = CumulativeLayerNorm(5)(x)
    for frame in (0, 7, 39):
        past = x[..., : frame + 1]
        mean = past.mean((1, 2), keepdim=True)
        variance = past.var((1, 2), unbiased=False, keepdim=True)
        expected = (x[..., frame] - mean[..., 0]) / (variance[..., 0] + 1e-8).sqrt()
        torch.testing.assert_close(y[..., frame], expected, atol=1e-5, rtol=1e-5)


def test_the_same_sound_is_normalised_alike_after_an_hour() -> None:
    norm = CumulativeLayerNorm(4)
    torch.manual_seed(0)
    x = torch.randn(1, 4, 1000)
    _, state = norm(x)
    an_hour_later = (state[0] * 7200, state[1] * 7200, state[2] * 7200)
    # The past repeats x, so x changes neither mean nor variance: the exact answer is known.
    total = x.double()
    expected = (total - total.mean()) / total.var(unbiased=False).sqrt()
    y, _ = norm(x, an_hour_later)
    torch.testing.assert_close(y.double(), expected, atol=1e-3, rtol=1e-3)
