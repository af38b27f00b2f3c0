"""The distance of predicted band powers from a target's."""

from __future__ import annotations

from torch import Tensor

from audiotool.losses.base import Loss


class BandwidthExtensionLoss(Loss):
    """Distance of band powers and harmonic shares, as in `BandwidthExtension.training_outputs`.

    With p and q the powers of a band, estimated and true, w its weight, all means weighted by w:

        mean |ln p - ln q|  +  energy * mean over bands |ln sum p - ln sum q|
                            +  harmonic * mean (share - correlation)^2

    The minimum of the first term alone is the median of the logarithm, with which the mean power is several
    dB too low. The second term corrects the mean power: its sums are over the frames of all recordings of the
    batch, because what is loud is predicted too low in a single recording, too.

    Args:
        energy, harmonic: weights.
        floor: power, relative to the running level's, that counts as none: -60 dB.
        asymmetry: added to the weight of overestimated powers, which are more audible.
    """

    name = "bandwidth-extension"

    def __init__(
        self, energy: float = 0.5, harmonic: float = 1.0, floor: float = 1e-6, asymmetry: float = 0.0
    ) -> None:
        super().__init__()
        if floor <= 0:
            raise ValueError(f"floor is a power above 0, found {floor}")
        self.energy = energy
        self.harmonic = harmonic
        self.floor = floor
        self.asymmetry = asymmetry

    def forward(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
        weight, power, target = outputs["weight"], outputs["power"], outputs["target_power"]
        total = weight.sum().clamp(min=1.0)
        difference = (power + self.floor).log() - (target + self.floor).log()
        distance = difference.abs() + self.asymmetry * difference.clamp(min=0)
        of_bands = weight.mean((0, 1))
        means = [(weight * p).mean((0, 1)) / of_bands.clamp(min=1e-3) + self.floor for p in (power, target)]
        energy = (means[0].log() - means[1].log()).abs()
        share = (outputs["harmonic"] - outputs["target_harmonic"]).square()
        return (
            (weight * distance).sum() / total
            + self.energy * (of_bands * energy).sum() / of_bands.sum().clamp(min=1e-3)
            + self.harmonic * (weight * share).sum() / total
        )
