"""The distance of predicted band powers from a target's."""

from __future__ import annotations

from torch import Tensor

from audiotool.configuration import Whole
from audiotool.losses.base import Loss


class BandwidthExtensionLoss(Loss):
    """Distance of band powers and harmonic shares, as in `BandwidthExtension.training_outputs`.

    With p and q the powers of a band, estimated and true, w its weight, all means weighted by w:

        mean |ln p - ln q|  +  energy * mean over bands and recordings |ln sum_t p - ln sum_t q|
                            +  harmonic * mean (share - correlation)^2

    The minimum of the first term alone is the median of the logarithm, with which the mean power is several
    dB too low. The second term corrects the mean power of a segment. The first frames do not count in it:
    in them the running level is not yet settled, and one burst there would have the energy of a segment.

    Args:
        energy, harmonic: weights.
        floor: power, relative to the running level's, that counts as none: -60 dB.
        asymmetry: added to the weight of overestimated powers, which are more audible.
        settling: number of frames from the beginning that do not count in the second term.
    """

    name = "bandwidth-extension"

    def __init__(
        self,
        energy: float = 0.5,
        harmonic: float = 1.0,
        floor: float = 1e-6,
        asymmetry: float = 0.0,
        settling: Whole = 0,
    ) -> None:
        super().__init__()
        if floor <= 0:
            raise ValueError(f"floor is a power above 0, found {floor}")
        self.energy = energy
        self.harmonic = harmonic
        self.floor = floor
        self.asymmetry = asymmetry
        self.settling = settling

    def forward(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
        weight, power, target = outputs["weight"], outputs["power"], outputs["target_power"]
        total = weight.sum().clamp(min=1.0)
        difference = (power + self.floor).log() - (target + self.floor).log()
        distance = difference.abs() + self.asymmetry * difference.clamp(min=0)
        # Of a recording that is as short, the last frame counts.
        first = min(self.settling, weight.shape[1] - 1)
        settled = weight[:, first:]
        of_bands = settled.mean(1)
        means = [
            (settled * p[:, first:]).mean(1) / of_bands.clamp(min=1e-3) + self.floor for p in (power, target)
        ]
        energy = (means[0].log() - means[1].log()).abs()
        share = (outputs["harmonic"] - outputs["target_harmonic"]).square()
        return (
            (weight * distance).sum() / total
            + self.energy * (of_bands * energy).sum() / of_bands.sum().clamp(min=1.0)
            + self.harmonic * (weight * share).sum() / total
        )
