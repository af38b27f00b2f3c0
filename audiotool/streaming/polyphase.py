"""A linear-phase low-pass filter between two sample rates, evaluated only at the times of output samples.

Output n lies at the time of input n * input_rate / output_rate and is a weighted sum of the inputs around it:

    input      . . . . [ . . reach . . | . . reach . . ] . . . .
    output                             n                           computed when the last of them is known

The weights are a sinc under a Kaiser window (Kaiser and Schafer, On the Use of the I0-sinh Window for
Spectrum Analysis, IEEE Trans. ASSP 28, 1980): flat to 90 % of the lower rate's half and nothing from that
half on. That takes 66 samples of the lower rate on either side, 4.1 ms at 16 kHz; a narrower transition takes
longer.

Neighbouring outputs share most of their inputs. The outputs are computed in parts of a few dozen. A part is
the product of all its inputs and a matrix, in which some weights are zero:

    inputs      . . . . . . . . . .
    output 0    # # # # # # #
    output 1      # # # # # # #
    output 2        # # # # # # #

The weights repeat after a period, when an input and an output coincide again. The same part of many periods
is therefore one product of matrices, so that minutes of audio take milliseconds.

The products are in float64. BLAS adds in another order for matrices of another size. In float32 the output
would therefore depend on the block sizes by 2e-7, which models amplify to 3e-5.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from audiotool.arrays import Block
from audiotool.errors import StreamError

Samples = NDArray[np.float64]

PASS_BAND = 0.9
"""Upper edge of the pass band, as a share of half the lower rate. The pass band is flat within 0.01 dB."""

ATTENUATION_DB = 102.0
"""Design attenuation of images and aliases. 100 dB are wanted, and Kaiser's formulas are approximations."""

HALF_WIDTH = (ATTENUATION_DB - 7.95) / (2 * 2.285 * math.pi * (1 - PASS_BAND))
"""Length of the kernel in either direction, in samples of the lower rate (Kaiser's formula)."""

KERNEL_STEPS = 1024
"""Points of the kernel in a sample. The error of linear interpolation between them is -120 dB."""

PART_SPAN = 48
"""Length of a part in samples of the lower rate. 40 and 64 are slower."""

LARGEST_PART = 160
"""Greatest number of outputs of a part, for output rates of many times the input's."""

MANY_PERIODS = 12
"""Least number of periods for which one product of matrices is faster than a product for each."""

LARGEST_PRODUCT = 200_000
"""Greatest number of multiplications in one call of BLAS. OpenBLAS distributes more than 262144 of them among
threads, which then wait actively: that takes twenty times the processor time and is not faster."""

TABLE_BYTES = 32 * 2**20
"""Greatest size of the weights that a filter keeps. Pairs of rates without a large common divisor have more
weights, for example 44101 and 96000 Hz. These are computed each time."""

HIGHEST_RATIO = 500
"""Greatest ratio of the input's rate to the output's, because `reach` grows with the ratio."""


@functools.lru_cache(maxsize=16)
def filter_between(input_rate: int, output_rate: int) -> PolyphaseFilter:
    """Return the filter for two different rates in Hz. Streams share it.

    Raises:
        StreamError: the input's rate is more than 500 times the output's.
    """
    return PolyphaseFilter(input_rate, output_rate)


class PolyphaseFilter:
    """Resampling filter between two rates.

    Output n is a weighted sum of the inputs `first_input(n)` to `last_input(n)`. Samples are counted from the
    stream's beginning. Inputs before it have negative numbers.

    Args:
        input_rate, output_rate: Hz.
    Raises:
        StreamError: the input's rate is more than 500 times the output's.
    """

    def __init__(self, input_rate: int, output_rate: int) -> None:
        if input_rate > HIGHEST_RATIO * output_rate:
            raise StreamError(
                f"{input_rate} Hz is more than {HIGHEST_RATIO} times {output_rate} Hz: is the rate right?"
            )
        # Number of samples of the lower rate in one input sample.
        self._scale = min(input_rate, output_rate) / input_rate
        self.reach = math.ceil(HALF_WIDTH / self._scale)
        common = math.gcd(input_rate, output_rate)
        up, down = output_rate // common, input_rate // common
        part = min(round(PART_SPAN * max(1.0, output_rate / input_rate)), LARGEST_PART)
        repeats = max(1, part // up)
        # A period is `_up` outputs and `_down` inputs, of `_parts` parts.
        self._up, self._down = up * repeats, down * repeats
        self._parts = max(1, round(self._up / part))
        self._tables: dict[int, Samples] = {}

    def first_input(self, n: int) -> int:
        """Return the number of the first input in the sum of output n."""
        return n * self._down // self._up - self.reach + 1

    def last_input(self, n: int) -> int:
        """Return the number of the last input in the sum of output n."""
        return n * self._down // self._up + self.reach

    def known(self, consumed: int) -> int:
        """Return the number of outputs that need only the first `consumed` inputs."""
        return max(0, -(-(consumed - self.reach) * self._up // self._down))

    def apply(self, window: Block, start: int, stop: int) -> Block:
        """Compute the outputs `start` to `stop`, (channels, stop - start).

        Args:
            window: (channels, time), finite inputs, `first_input(start)` to `last_input(stop - 1)` or later.
        """
        output = np.empty((len(window), stop - start))
        exact = window.astype(np.float64)
        n = start
        while n < stop:
            part = ((n + 1) * self._parts - 1) // self._up
            periods = (stop - n) // self._up
            inputs = exact[:, self.first_input(n) - self.first_input(start) :]
            outputs = output[:, n - start :]
            if periods >= MANY_PERIODS and n == self._begin(part):
                self._apply_periods(inputs, outputs, part, periods)
                n += periods * self._up
            else:
                end = min(self._begin(part + 1), stop)
                weights = self._weights(part, n, end)
                np.matmul(inputs[:, : len(weights)], weights, out=outputs[:, : end - n])
                n = end
        return output.astype(np.float32)

    def _apply_periods(self, inputs: Samples, outputs: Samples, part: int, periods: int) -> None:
        """Compute whole periods from the beginning of a part, one part of all periods at a time."""
        start = self._begin(part)
        for p in range(part, part + self._parts):
            first, last = self._begin(p), self._begin(p + 1)
            weights = self._weights(p, first, last)
            at = self.first_input(first) - self.first_input(start)
            for x, y in zip(inputs, outputs, strict=True):
                # Windows of neighbouring periods overlap; pieces no longer than a period multiply uncopied.
                pieces = [weights[n : n + self._down] for n in range(0, len(weights), self._down)]
                sums = _product(x[at:], periods, self._down, pieces[0])
                for n, piece in enumerate(pieces[1:], start=1):
                    sums += _product(x[at + n * self._down :], periods, self._down, piece)
                target = y[first - start :]
                as_strided(target, sums.shape, (self._up * y.strides[0], y.strides[0]))[:] = sums

    def _begin(self, part: int) -> int:
        """Return the first output of a part. Parts and outputs are counted from the stream's beginning."""
        return part * self._up // self._parts

    def _weights(self, part: int, first: int, last: int) -> Samples:
        """Return the weights (inputs, outputs) of the outputs `first` to `last` of a part."""
        start = self._begin(part)
        offset = self.first_input(first) - self.first_input(start)
        width = self.last_input(last - 1) - self.first_input(first) + 1
        return self._table(part % self._parts)[offset : offset + width, first - start : last - start]

    def _table(self, part: int) -> Samples:
        """Return the weights (inputs, outputs) of a part of the first period."""
        if part in self._tables:
            return self._tables[part]
        start, stop = self._begin(part), self._begin(part + 1)
        inputs = np.arange(self.first_input(start), self.last_input(stop - 1) + 1)
        # Integers keep the times exact.
        times = np.abs(inputs[:, None] * self._up - np.arange(start, stop) * self._down)
        position = times * (self._scale / self._up * KERNEL_STEPS)
        kernel = _kernel()
        before = np.minimum(position.astype(np.int64), len(kernel) - 2)
        share = np.minimum(position - before, 1)
        weights = kernel[before] + share * (kernel[before + 1] - kernel[before])
        table = self._scale * weights
        if (len(self._tables) + 1) * table.nbytes <= TABLE_BYTES:
            self._tables[part] = table
        return table


def _product(x: Samples, periods: int, period: int, weights: Samples) -> Samples:
    """Return the products of a window of x for each period and the weights: (periods, outputs).

    The windows are views of x.
    """
    inputs, outputs = weights.shape
    sums = np.empty((periods, outputs))
    step = x.strides[0]
    size = max(1, LARGEST_PRODUCT // weights.size)
    whole = periods // size * size
    for begin, count, rows in ((0, whole // size, size), (whole, 1, periods - whole)):
        shape, strides = (count, rows, inputs), (rows * period * step, period * step, step)
        windows = as_strided(x[begin * period :], shape, strides, writeable=False)
        part = sums[begin : begin + count * rows].reshape(count, rows, outputs)
        np.matmul(windows, weights, out=part)
    return sums


@functools.lru_cache(maxsize=1)
def _kernel() -> Samples:
    """Return one side of the windowed sinc in samples of the lower rate, for all pairs of rates."""
    distance = np.arange(math.ceil(HALF_WIDTH * KERNEL_STEPS) + 1) / KERNEL_STEPS
    beta = 0.1102 * (ATTENUATION_DB - 8.7)
    inside = np.maximum(1 - np.square(distance / HALF_WIDTH), 0)
    window = np.i0(beta * np.sqrt(inside)) / np.i0(beta)
    cutoff = (1 + PASS_BAND) / 2
    return np.where(inside > 0, cutoff * np.sinc(cutoff * distance) * window, 0)
