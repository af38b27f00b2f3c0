"""A quantile loss on band energies, for content that the input does not determine."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from audiotool.configuration import Length, Positive, Whole, Width
from audiotool.dsp.stft import power_spectrum, stft
from audiotool.losses.base import Loss


class BandEnvelopeLoss(Loss):
    """Pinball loss on log energies of bands of equal width: its minimum is a quantile of the target's energy.

    With d = ln E_estimate - ln E_target of a band in a frame, and q the quantile:
    (1 - q) max(d, 0) + q max(-d, 0). A quantile below 0.5 makes estimates cautious, because added energy is
    more audible than missing energy (also in PESQ, ITU-T P.862, section 10.2.10). Where the network is
    certain, all quantiles are equal.

    Args:
        n_fft, hop_length: samples.
        from_bin: first bin of the first band.
        width: number of bins of a band.
        quantile: 0 < quantile < 1.
        floor: magnitude; its power is added to every band's mean power.
    Reference: Koenker and Bassett, Regression quantiles, Econometrica 1978.
    """

    name = "band-envelope"

    def __init__(
        self,
        n_fft: Length = 512,
        hop_length: Length = 256,
        from_bin: Whole = 0,
        width: Width = 8,
        quantile: float = 0.5,
        floor: Positive = 0.003,
    ) -> None:
        super().__init__()
        if not 0 < quantile < 1:
            raise ValueError(f"quantile lies between 0 and 1, found {quantile}")
        if not 0 <= from_bin <= n_fft // 2 + 1 - width:
            raise ValueError(f"from_bin leaves no band of {width} bins below half the rate, found {from_bin}")
        self.sizes = (n_fft, hop_length)
        self.from_bin = from_bin
        self.width = width
        self.quantile = quantile
        self.power_floor = floor**2

    def forward(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
        difference = self._log_energies(outputs["estimate"]) - self._log_energies(batch["target"])
        above, below = difference.clamp(min=0), (-difference).clamp(min=0)
        return ((1 - self.quantile) * above + self.quantile * below).mean()

    def _log_energies(self, waveform: Tensor) -> Tensor:
        """(B, C, T) -> (B * C, bands, frames)."""
        spec = stft(waveform, *self.sizes)[..., self.from_bin :, :].flatten(0, 1)
        power = power_spectrum(spec)
        means = F.avg_pool2d(power[:, None], (self.width, 1))[:, 0]
        return (means + self.power_floor).log()
