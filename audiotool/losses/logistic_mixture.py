"""Negative log-likelihood of samples under a mixture of logistics."""

from __future__ import annotations

from torch import Tensor

from audiotool.losses.base import Loss
from audiotool.models.layers.logistic_mixture import log_likelihood


class LogisticMixtureLoss(Loss):
    """Mean over all samples of -log p(sample), a sample being one of 65,536 levels.

    Args:
        log_scale_min: floor of the logarithm of a logistic's scale; the model's counts where it is higher.
    Reference: van den Oord et al., Parallel WaveNet, ICML 2018, arXiv:1711.10433.
    """

    name = "logistic-mixture"

    def __init__(self, log_scale_min: float = -7.0) -> None:
        super().__init__()
        self.log_scale_min = log_scale_min

    def forward(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
        return -log_likelihood(outputs["parameters"], outputs["signal"], self.log_scale_min).mean()
