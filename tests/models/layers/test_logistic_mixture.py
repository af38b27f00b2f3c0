"""The mixture of logistics: a distribution over levels, and samples that follow it."""

from __future__ import annotations

import torch

from audiotool.models.layers import noise
from audiotool.models.layers.logistic_mixture import LEVELS, log_likelihood, sample, sampling_noise


def parameters(components: int = 10) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, components, 1, generator=generator)
    means = torch.rand(1, components, 1, generator=generator) - 0.5
    log_scales = -5 + torch.rand(1, components, 1, generator=generator)
    return torch.cat((logits, means, log_scales), dim=1)


def test_all_levels_sum_to_one() -> None:
    # Levels beyond 0.999 all count as the outermost one: the components stay clear of them.
    levels = torch.linspace(-1, 1, LEVELS, dtype=torch.float64)
    values = parameters().double()
    inside = levels.abs() <= 0.999
    mass = log_likelihood(values.expand(-1, -1, LEVELS), levels[None, None], -7.0)[..., inside].exp().sum()
    assert abs(float(mass) - 1) < 1e-4


def test_coarse_levels_sum_to_one_with_their_tails() -> None:
    levels = torch.linspace(-1, 1, 256, dtype=torch.float64)
    values = torch.tensor([0.3, -0.2, 0.9, -0.95, -1.0, -0.5], dtype=torch.float64)[None, :, None]
    mass = log_likelihood(values.expand(-1, -1, 256), levels[None, None], -7.0, levels=256).exp().sum()
    assert abs(float(mass) - 1) < 1e-4


def test_gradient_is_finite_at_the_edges_and_for_narrow_scales() -> None:
    y = torch.tensor([-1.0, -0.9995, 0.0, 0.5, 0.9995, 1.0])[None, None]
    for log_scale in (-20.0, -7.0, 0.0, 5.0):
        values = torch.zeros(1, 6, 6)
        values[:, 4:] = log_scale
        values.requires_grad_()
        log_likelihood(values, y, -7.0).sum().backward()
        assert values.grad is not None
        assert values.grad.isfinite().all()


def test_samples_follow_the_distribution() -> None:
    count = 40_000
    values = parameters(3)
    gumbel, logistic = sampling_noise(noise.uniform(1, 4, 0, count))
    drawn = sample(values.expand(-1, -1, count), gumbel, logistic)
    assert drawn.abs().max() <= 1
    edges = torch.linspace(-1, 1, 21)
    weights, means, scales = values[0, :3, 0].softmax(0), values[0, 3:6, 0], values[0, 6:, 0].exp()
    cumulative = (weights * torch.sigmoid((edges[:, None] - means) / scales)).sum(1)
    cumulative[0], cumulative[-1] = 0, 1  # what lies beyond is clamped into the outer bins
    expected = count * cumulative.diff()
    found = torch.histc(drawn, 20, -1, 1)
    used = expected > 5
    assert ((found - expected)[used].square() / expected[used]).sum() < 43.8


def test_log_scale_floor_of_the_likelihood_alone() -> None:
    values = torch.tensor([0.0, 0.1, -30.0])[None, :, None]
    floored = torch.tensor([0.0, 0.1, -7.0])[None, :, None]
    y = torch.full((1, 1, 1), 0.1)
    assert torch.equal(log_likelihood(values, y, -7.0), log_likelihood(floored, y, -7.0))
    gumbel, logistic = sampling_noise(noise.uniform(1, 2, 0, 1))
    # A scale of exp(-30) is lost beside the mean in single precision; that of the floor is not.
    assert torch.equal(sample(values, gumbel, logistic), values[:, 1:2])
    assert not torch.equal(sample(floored, gumbel, logistic), values[:, 1:2])
