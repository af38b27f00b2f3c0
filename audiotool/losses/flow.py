"""Negative log-likelihood of a normalising flow."""

from __future__ import annotations

import math

from torch import Tensor

from audiotool.losses.base import Loss


class FlowLikelihoodLoss(Loss):
    """Negative log-likelihood of the noise to which a flow maps the target, for each of its values.

    (sum z^2 / (2 sigma^2) - log-determinant) / (number of values), and with `constant` the Gaussian's own
    log(2 pi) / 2 + log(sigma) as well. It may be negative: densities may exceed one.

    Args:
        sigma: standard deviation of the prior.
        constant: WaveFlow's loss counts the Gaussian's constant, WaveGlow's does not.
    Reference: Prenger et al., WaveGlow, ICASSP 2019, arXiv:1811.00002.
    """

    name = "flow-likelihood"

    def __init__(self, sigma: float = 1.0, constant: bool = True) -> None:
        super().__init__()
        if sigma <= 0:
            raise ValueError(f"sigma must be positive, got {sigma}")
        self.sigma = sigma
        self.constant = 0.5 * math.log(2 * math.pi) + math.log(sigma) if constant else 0.0

    def forward(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
        z = outputs["z"]
        energy = z.square().sum() / (2 * self.sigma**2)
        return (energy - outputs["log_determinant"]) / z.numel() + self.constant
