"""Keep the frequencies above the band of a model of a lower sample rate, with the gain that the model had on
its own band.

    input ──┬──────────────────────────────────────(+)── upper band ──(x)──(+)── output
            └─ to model rate ─┬─ back ── low band ──(-)                │     │
                              └─ model ─ back ── enhanced low band ────┴─────┘
                                         (enhanced against low band gives the gain)

The upper band is the input minus its own way through both resamplers, so that nothing is lost or doubled at
the seam: with a model that changes nothing the output is the input. The gain is never above 1, so that no
noise is added.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from audiotool.streaming.carried import Carrier

BLOCK_SECONDS = 0.016
SMOOTHING_SECONDS = 0.032
FLOOR = 1e-10
"""Power (-100 dBFS) under which a band counts as silent."""


class RemovalGain(Carrier):
    """Gain for the upper band that follows the attenuation of the low band by the model.

    Both signals are differentiated, which weighs the top of the low band, the upper band's neighbour, most.
    Their powers over blocks of 16 ms go through a one-pole smoother; the gain is the root of their ratio. It
    moves linearly over a block to the value known at the block's beginning, so no look-ahead is needed.

    Args:
        sample_rate: Hz of the signals.
        stems, channels: leading axes of the enhanced signal.
    """

    carries = ("_last", "_partial", "_power", "_knots", "_position")

    def __init__(self, sample_rate: int, stems: int, channels: int) -> None:
        self.block = max(1, round(BLOCK_SECONDS * sample_rate))
        self.decay = math.exp(-BLOCK_SECONDS / SMOOTHING_SECONDS)
        # Row 0 is the noisy low band, the others the stems.
        self._last = np.zeros((stems + 1, channels, 1), np.float32)
        self._partial = np.zeros((stems + 1, channels))
        self._power = np.zeros((stems + 1, channels))
        self._knots = np.ones((2, stems, channels), np.float32)
        self._position = 0

    def feed(self, low_band: NDArray[np.float32], enhanced: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the gains of a block.

        Args:
            low_band: (channels, time), the input's low band.
            enhanced: (stems, channels, time), the model's output.
        Returns:
            (stems, channels, time) from 0 to 1.
        """
        length = low_band.shape[-1]
        both = np.concatenate((low_band[None], enhanced))
        slope = np.diff(both, axis=-1, prepend=self._last)
        if length:
            self._last = both[..., -1:].copy()
        knots = np.concatenate((self._knots, self._follow(slope)))
        index = self._position + np.arange(length)
        number, within = index // self.block, (index % self.block) / np.float32(self.block)
        before, after = knots[number], knots[number + 1]
        gain = before + (after - before) * within[:, None, None].astype(np.float32)
        complete = (self._position + length) // self.block
        self._knots = knots[complete : complete + 2].copy()
        self._position = (self._position + length) % self.block
        return np.moveaxis(gain, 0, -1)

    def _follow(self, slope: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the gains (blocks, stems, channels) after each block that these samples complete."""
        end = self._position + slope.shape[-1]
        # np.pad would take more time than the rest of this method.
        power = np.zeros((*slope.shape[:2], -(-end // self.block) * self.block), np.float32)
        np.square(slope, out=power[..., self._position : end])
        sums = power.reshape(*power.shape[:2], -1, self.block).sum(-1, dtype=np.float64)
        if sums.shape[-1]:
            sums[..., 0] += self._partial
        complete = (self._position + slope.shape[-1]) // self.block
        has_rest = sums.shape[-1] > complete
        self._partial = sums[..., complete].copy() if has_rest else np.zeros_like(self._partial)
        gains = np.empty((complete, *self._knots.shape[1:]), np.float32)
        for n in range(complete):
            self._power = self.decay * self._power + (1 - self.decay) * sums[..., n] / self.block
            ratio = (self._power[1:] + FLOOR) / (self._power[:1] + FLOOR)
            gains[n] = np.sqrt(np.minimum(ratio, 1.0))
        return gains
