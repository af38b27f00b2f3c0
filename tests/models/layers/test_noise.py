"""Noise by position: joins without seams, differs by seed and channel, and is distributed as it says."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from audiotool.models.layers import noise


@pytest.mark.parametrize("draw", [noise.uniform, noise.normal])
def test_any_stretch_is_a_piece_of_the_whole(draw: Callable[..., Tensor]) -> None:
    whole = draw(7, 3, 0, 1000)
    pieces = [draw(7, 3, start, length) for start, length in ((0, 1), (1, 0), (1, 498), (499, 501))]
    assert torch.equal(torch.cat(pieces, dim=-1), whole)


def test_a_period_repeats_within_a_stretch() -> None:
    drawn = noise.uniform(7, 3, 8, 25, period=10)
    once = noise.uniform(7, 3, 0, 10)
    assert torch.equal(drawn, torch.cat((once[..., 8:], once, once, once[..., :3]), dim=-1))


def test_far_positions_and_odd_seeds() -> None:
    far = 3600 * 10 * 48000
    for seed in (-1, 0, 2**63, 2**70 + 1):
        drawn = noise.normal(seed, 1, far, 64)
        assert drawn.isfinite().all()
        assert torch.equal(drawn, noise.normal(seed, 1, far - 5, 69)[..., 5:])


def test_seeds_and_channels_are_independent() -> None:
    a, b = noise.normal(0, 2, 0, 20000)[0]
    other = noise.normal(1, 1, 0, 20000)[0, 0]
    for x, y in ((a, b), (a, other), (a[1:], a[:-1]), (a[1:], b[:-1])):
        assert abs(float((x * y).mean())) < 4 / math.sqrt(20000)


def test_distributions() -> None:
    u = noise.uniform(3, 1, 0, 100_000)
    assert u.min() > 0
    assert u.max() < 1
    expected = torch.full((20,), 5000.0)
    chi_square = ((torch.histc(u, 20, 0, 1) - expected).square() / expected).sum()
    assert chi_square < 43.8  # 99.9 % of 19 degrees of freedom
    z = noise.normal(3, 1, 0, 100_000)
    assert abs(float(z.mean())) < 0.013
    assert abs(float(z.var()) - 1) < 0.018
    assert abs(float(z.pow(4).mean()) - 3) < 0.12
