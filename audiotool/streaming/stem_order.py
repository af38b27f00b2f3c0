"""Keep interchangeable stems in one order in all channels.

A single-channel model processes each channel by itself. The speaker that is stem 1 in one channel may be stem
2 in another. The envelopes over the last seconds tell which stems belong together: the stems of every channel
are put into the order whose envelopes correlate best with those of the first channel.

    channel 1   speaker1  ###  ##    ####          channel 2   speaker1     ##     ##
                speaker2     ##   ##                           speaker2  ###  ##     ####    exchanged

The order of a block is the one known at its beginning, so no look-ahead is needed. When the order changes,
the old one is cross-faded into the new over one block.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray

from audiotool.streaming.carried import Carrier

BLOCK_SECONDS = 0.032
MEMORY_SECONDS = 2.0
MARGIN = 0.1
"""By how much the mean correlation of another order must be higher before the order changes; otherwise equal
orders would alternate."""

TINY = 1e-12
"""Power (-120 dBFS) under which a stem counts as silent and correlates with none."""


class StemOrder(Carrier):
    """Reorder a stream's stems, channel by channel; the first channel stays as it is.

    Args:
        sample_rate: Hz of the signals.
        stems, channels: leading axes of the signals.
    """

    carries = ("_position", "_partial", "_products", "_squares", "_order", "_before")

    def __init__(self, sample_rate: int, stems: int, channels: int) -> None:
        self.block = max(1, round(BLOCK_SECONDS * sample_rate))
        self.decay = math.exp(-BLOCK_SECONDS / MEMORY_SECONDS)
        self.orders = np.array(list(itertools.permutations(range(stems))))
        self._position = 0
        self._partial = np.zeros((stems, channels))
        # Of envelopes: products of a stem (of each channel) and one of the first channel's, and squares.
        self._products = np.zeros((channels, stems, stems))
        self._squares = np.zeros((channels, stems))
        self._order = np.zeros(channels, np.intp)
        self._before = self._order

    def feed(self, signals: NDArray[np.float32]) -> NDArray[np.float32]:
        """(stems, channels, time) -> the same, reordered."""
        length = signals.shape[-1]
        if not length:
            return signals
        orders = self._follow(self._envelopes(signals))
        output = self._arranged(signals, orders)
        self._position = (self._position + length) % self.block
        return output

    def _envelopes(self, signals: NDArray[np.float32]) -> NDArray[np.float64]:
        """(complete blocks, stems, channels) RMS of the blocks that these samples complete."""
        length = signals.shape[-1]
        end = self._position + length
        power = np.zeros((*signals.shape[:2], -(-end // self.block) * self.block), np.float32)
        np.square(signals, out=power[..., self._position : end])
        sums = power.reshape(*power.shape[:2], -1, self.block).sum(-1, dtype=np.float64)
        sums[..., 0] += self._partial
        complete = end // self.block
        rest = sums.shape[-1] > complete
        self._partial = sums[..., complete].copy() if rest else np.zeros_like(self._partial)
        return np.sqrt(np.moveaxis(sums[..., :complete], -1, 0) / self.block)

    def _follow(self, envelopes: NDArray[np.float64]) -> NDArray[np.intp]:
        """(2 + complete blocks, channels): the order before the first of these blocks, of it, and so on."""
        orders = [self._before, self._order]
        for envelope in envelopes:
            self._products *= self.decay
            self._products += envelope.T[:, :, None] * envelope[:, 0]
            self._squares *= self.decay
            self._squares += np.square(envelope.T)
            orders.append(self._decide(orders[-1]))
        self._before, self._order = orders[-2:]
        return np.array(orders)

    def _decide(self, current: NDArray[np.intp]) -> NDArray[np.intp]:
        """The order of each channel from now on, as a row of `orders`."""
        norms = np.sqrt(self._squares[:, :, None] * self._squares[0])
        heard = (self._squares[:, :, None] > TINY) & (self._squares[0] > TINY)
        likeness = np.divide(self._products, norms, out=np.zeros_like(norms), where=heard)
        stems = np.arange(self.orders.shape[1])
        # (channels, orders): how well stem order[n] of a channel goes with stem n of the first.
        means = likeness[:, self.orders, stems].mean(-1)
        best = means.argmax(-1)
        rows = np.arange(len(means))
        better = means[rows, best] > means[rows, current] + MARGIN
        return np.where(better, best, current)

    def _arranged(self, signals: NDArray[np.float32], orders: NDArray[np.intp]) -> NDArray[np.float32]:
        """Apply `orders` (before the block in hand, of it, of the next, …) to the samples of the blocks."""
        if not orders.any():
            return signals
        output = np.empty_like(signals)
        length, begin = signals.shape[-1], 0
        for before, order in itertools.pairwise(orders):
            within = self._position if begin == 0 else 0
            end = min(begin + self.block - within, length)
            part = self._permuted(signals[..., begin:end], order)
            changes = before != order
            if changes.any():
                ramp = (within + np.arange(1, end - begin + 1, dtype=np.float32)) / np.float32(self.block)
                old = self._permuted(signals[..., begin:end], before)
                part[:, changes] = (ramp * part + (1 - ramp) * old)[:, changes]
            output[..., begin:end] = part
            begin = end
        return output

    def _permuted(self, signals: NDArray[np.float32], order: NDArray[np.intp]) -> NDArray[np.float32]:
        channels = np.arange(signals.shape[1])
        permuted: NDArray[np.float32] = signals[self.orders[order].T, channels]
        return permuted
