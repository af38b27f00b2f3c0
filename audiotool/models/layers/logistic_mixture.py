"""A mixture of logistic distributions over the levels of a 16-bit sample.

Salimans, Karpathy, Chen, Kingma: PixelCNN++, ICLR 2017, arXiv:1701.05517; for audio van den Oord et al.:
Parallel WaveNet, ICML 2018, arXiv:1711.10433.

Parameters are (B, 3 * K, T): K logits of the weights, K means, K logarithms of scales. A level y covers
[y - 1/65535, y + 1/65535]; its probability is the difference of the logistic cumulative function over that
bin. The lowest and the highest level include the tails.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

LEVELS = 65536
EDGE = 0.999
"""Greatest absolute value of levels without a tail."""
SMALLEST_MASS = 1e-5
"""The mass of smaller bins is computed as density times width, because their sigmoids cancel."""


def log_likelihood(parameters: Tensor, y: Tensor, log_scale_min: float, levels: int = LEVELS) -> Tensor:
    """Return the logarithm of the probability of each sample.

    Args:
        parameters: (B, 3 * K, T).
        y: (B, 1, T) in [-1, 1].
        log_scale_min: floor of the logarithms of scales.
        levels: bins between -1 and 1.
    Returns:
        (B, 1, T).
    """
    logits, means, log_scales = parameters.chunk(3, dim=1)
    log_scales = log_scales.clamp(min=log_scale_min)
    centred = y - means
    inverse_scale = torch.exp(-log_scales)
    upper = inverse_scale * (centred + 1.0 / (levels - 1))
    lower = inverse_scale * (centred - 1.0 / (levels - 1))
    middle = inverse_scale * centred
    mass = torch.sigmoid(upper) - torch.sigmoid(lower)
    density = middle - log_scales - 2.0 * F.softplus(middle) - math.log((levels - 1) / 2)
    inside = torch.where(mass > SMALLEST_MASS, mass.clamp(min=1e-12).log(), density)
    component = torch.where(
        y < -EDGE, F.logsigmoid(upper), torch.where(y > EDGE, F.logsigmoid(-lower), inside)
    )
    return torch.logsumexp(component + F.log_softmax(logits, dim=1), dim=1, keepdim=True)


def sampling_noise(uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Convert uniform noise (B, K + 1, T) to that of `sample`: Gumbel (B, K, T) and logistic (B, 1, T)."""
    clipped = uniform.clamp(1e-5, 1.0 - 1e-5)
    return -torch.log(-torch.log(clipped[:, :-1])), torch.logit(clipped[:, -1:])


def sample(parameters: Tensor, gumbel: Tensor, logistic: Tensor) -> Tensor:
    """Draw (B, 1, T) in [-1, 1]: a component by its weight, then a value from it.

    Scales have no floor, as in the published synthesis.

    Args:
        parameters: (B, 3 * K, T).
        gumbel, logistic: from `sampling_noise`.
    """
    logits, means, log_scales = parameters.chunk(3, dim=1)
    chosen = (logits + gumbel).argmax(dim=1, keepdim=True)
    scale = log_scales.gather(1, chosen).exp()
    return (means.gather(1, chosen) + scale * logistic).clamp(-1.0, 1.0)
