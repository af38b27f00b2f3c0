"""Losses on the waveform itself."""

from __future__ import annotations

from torch import Tensor

from audiotool.configuration import Decibels, NonNegative
from audiotool.losses.base import Loss


class L1WaveformLoss(Loss):
    """Mean absolute difference of estimate and target."""

    name = "l1-waveform"

    def forward(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
        return (outputs["estimate"] - batch["target"]).abs().mean()

    def per_item(self, estimate: Tensor, target: Tensor) -> Tensor:
        return (estimate - target).abs().mean((1, 2))


class L2WaveformLoss(Loss):
    """Mean squared difference of estimate and target."""

    name = "l2-waveform"

    def forward(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
        return (outputs["estimate"] - batch["target"]).square().mean()

    def per_item(self, estimate: Tensor, target: Tensor) -> Tensor:
        return (estimate - target).square().mean((1, 2))


class SISDRLoss(Loss):
    """Negative scale-invariant signal-to-distortion ratio in decibels, averaged over items and channels.

    With a the projection of the estimate on the target: -10 log10(|a t|^2 / |a t - e|^2).

    Args:
        zero_mean: remove the mean of both signals first.
        soft_limit_db: the ratio saturates towards this value, so that easy examples do not rule the
            gradient: the distortion grows by |a t|^2 times 10^(-limit / 10). None: no limit.
        epsilon: added to both energies, against silence.
    Reference: Le Roux et al., SDR: half-baked or well done?, ICASSP 2019, arXiv:1811.02508.
    """

    name = "si-sdr"

    def __init__(
        self, zero_mean: bool = False, soft_limit_db: Decibels | None = None, epsilon: NonNegative = 1e-8
    ) -> None:
        super().__init__()
        self.zero_mean = zero_mean
        self.epsilon = epsilon
        self.floor = 0.0 if soft_limit_db is None else 10 ** (-soft_limit_db / 10)

    def forward(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
        return -self.ratio(outputs["estimate"], batch["target"]).mean()

    def per_item(self, estimate: Tensor, target: Tensor) -> Tensor:
        return -self.ratio(estimate, target).mean(1)

    def ratio(self, estimate: Tensor, target: Tensor) -> Tensor:
        """Return SI-SDR in decibels: (..., T) twice -> (...)."""
        if self.zero_mean:
            estimate = estimate - estimate.mean(-1, keepdim=True)
            target = target - target.mean(-1, keepdim=True)
        energy = target.square().sum(-1, keepdim=True) + self.epsilon
        projected = (estimate * target).sum(-1, keepdim=True) / energy * target
        signal = projected.square().sum(-1)
        distortion = (projected - estimate).square().sum(-1) + self.floor * signal
        return 10 * ((signal + self.epsilon) / (distortion + self.epsilon)).log10()


class SNRLoss(Loss):
    """Negative signal-to-noise ratio in decibels, averaged over items and channels: level counts.

    -10 log10(|t|^2 / (|t - e|^2 + floor |t|^2)). Beside a term that rewards quiet outputs (a compressed
    spectrum counts what is left in pauses), SI-SDR lets the level of the estimate drift; this does not.

    Args:
        soft_limit_db: the ratio saturates towards this value; None: no limit.
        epsilon: added to both energies, against silence.
    """

    name = "snr"

    def __init__(self, soft_limit_db: Decibels | None = None, epsilon: NonNegative = 1e-8) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.floor = 0.0 if soft_limit_db is None else 10 ** (-soft_limit_db / 10)

    def forward(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
        target = batch["target"]
        signal = target.square().sum(-1)
        noise = (target - outputs["estimate"]).square().sum(-1) + self.floor * signal
        return 10 * ((noise + self.epsilon) / (signal + self.epsilon)).log10().mean()
