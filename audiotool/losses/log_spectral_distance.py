"""The log-spectral distance as a loss."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from audiotool.configuration import Length, Whole
from audiotool.dsp.stft import power_spectrum, stft
from audiotool.losses.base import Loss
from audiotool.value_types import Range

Below = Annotated[float, Range(gt=0, le=200)]
"""Kind: how far below a level, in decibels."""


class LogSpectralDistanceLoss(Loss):
    """Root mean square over bins of the difference of log powers, in dB, averaged over the audible frames.

    The audible frames are those of the target within `range_db` of its loudest. Powers are not counted as
    lower than `floor_db` under the target's loudest bin. Targets of digital silence have no audible frame.

    Args:
        n_fft, hop_length: samples.
        from_bin: first bin that counts; powers of all bins make frames audible.
        floor_db: above 0.
        range_db: above 0.
    Reference: Rabiner and Juang, Fundamentals of Speech Recognition, 1993, section 4.5.1.
    """

    name = "log-spectral-distance"

    def __init__(
        self,
        n_fft: Length = 512,
        hop_length: Length = 256,
        from_bin: Whole = 0,
        floor_db: Below = 80.0,
        range_db: Below = 40.0,
    ) -> None:
        super().__init__()
        if not 0 <= from_bin <= n_fft // 2:
            raise ValueError(f"from_bin must be one of the bins 0 to {n_fft // 2}, found {from_bin}")
        self.sizes = (n_fft, hop_length)
        self.from_bin = from_bin
        self.floor = 10 ** (-floor_db / 10)
        self.range = 10 ** (-range_db / 10)

    def forward(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
        estimate, target = self._power(outputs["estimate"]), self._power(batch["target"])
        loud = target.sum(1)
        audible = loud > self.range * loud.amax(1, keepdim=True)
        floor = self.floor * target.amax((1, 2), keepdim=True)
        logs = [10 * (p[:, self.from_bin :] + floor + 1e-12).log10() for p in (estimate, target)]
        square = (logs[0] - logs[1]).square().mean(1)
        # The root of 0 has no gradient.
        distances = (square + 1e-4).sqrt() * audible
        return distances.sum() / audible.sum().clamp(min=1)

    def _power(self, waveform: Tensor) -> Tensor:
        """(B, C, T) -> (B * C, bins, frames)."""
        spec = stft(waveform, *self.sizes).flatten(0, 1)
        return power_spectrum(spec)
