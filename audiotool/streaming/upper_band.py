"""Keep the frequencies above the band of a model of a lower sample rate, with the gain that the model had on
its own band.

    input ──┬──────────────────────────────────────(+)── upper band ──(x)──(+)── output
            └─ to model rate ─┬─ back ── low band ──(-)                │     │
                              └─ model ─ back ── enhanced low band ────┴─────┘
                                         (enhanced against low band gives the gain)

The upper band is the input minus its own way through both resamplers, so that nothing is lost or doubled at
the seam: with a model that changes nothing the output is the input. The gain is never above 1, of all stems
together, so that no noise is added.
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
    moves linearly over a block to the value known at the block's beginning, so no look-ahead is needed:

        block   |  0: a sound begins       |  1   |  2        |  3          |
        gain    |  ratio of block 0 so far |  g0  |  g0 → g1  |  g1 → g2    |  gn: of the powers after block n

    A silent block tells nothing. Its gain is the last one, and the next sound begins as a stream does. Stems
    share the upper band: their gains sum to 1 at most.

    Args:
        sample_rate: Hz of the signals.
        stems, channels: leading axes of the enhanced signal.
    """

    carries = ("_last", "_partial", "_power", "_knots", "_position")

    def __init__(self, sample_rate: int, stems: int, channels: int) -> None:
        self.block = max(1, round(BLOCK_SECONDS * sample_rate))
        self.decay = math.exp(-BLOCK_SECONDS / SMOOTHING_SECONDS)
        self._ramp = np.arange(self.block, dtype=np.float32) / np.float32(self.block)
        # Row 0 is the noisy low band, the others the stems.
        self._last = np.zeros((stems + 1, channels, 1), np.float32)
        self._partial = np.zeros((stems + 1, channels))
        # 0 where the block before was silent.
        self._power = np.zeros((stems + 1, channels))
        self._knots = np.full((2, stems, channels), 1 / stems, np.float32)
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
        begin, end = self._position, self._position + length
        count, self._position = -(-end // self.block), end % self.block
        # np.pad would take more time than the rest of this method.
        squares = np.zeros((*slope.shape[:2], count * self.block), np.float32)
        np.square(slope, out=squares[..., begin:end])
        squares = squares.reshape(*slope.shape[:2], count, self.block)
        gains = np.empty((count, *enhanced.shape[:2], self.block), np.float32)
        for n in range(count):
            # Mean over a whole block, though it is not complete yet.
            power = self._partial[..., None] + squares[:, :, n].cumsum(-1, dtype=np.float64) / self.block
            gains[n] = self._within(power)
            self._partial = power[..., -1]
            if n < end // self.block:
                self._end_block()
        return np.moveaxis(gains, 0, 2).reshape(*enhanced.shape[:2], -1)[..., begin:end]

    def _within(self, power: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the gains (stems, channels, block) of a block in which (rows, channels, block) has come so
        far."""
        before, after = self._knots[..., None]
        gain: NDArray[np.float32] = before + (after - before) * self._ramp
        begins = (self._power[0] == 0)[:, None] & (power[0] >= FLOOR)
        return np.where(begins, _gains(power), gain) if begins.any() else gain

    def _end_block(self) -> None:
        power, known, held = self._partial, self._power[0] > 0, self._knots[1]
        sounds = power[0] >= FLOOR
        smoothed = np.where(known, self.decay * self._power + (1 - self.decay) * power, power)
        self._power = np.where(sounds, smoothed, 0.0)
        gain = np.where(sounds, _gains(smoothed), held)
        self._knots = np.stack((np.where(sounds & ~known, gain, held), gain))
        self._partial = np.zeros_like(power)


def _gains(power: NDArray[np.float64]) -> NDArray[np.float32]:
    """Powers (1 + stems, ...) of the low band, at least FLOOR, and of the stems -> gains (stems, ...)."""
    gains: NDArray[np.float32] = np.sqrt(power[1:] / np.maximum(power[0], FLOOR)).astype(np.float32)
    return gains / np.maximum(gains.sum(0), np.float32(1.0))
