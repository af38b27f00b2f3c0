"""Resample a stream: soxr, any block sizes, exact length, aligned.

soxr's filters are linear-phase and their delay is already taken out: output sample n lies at the time of
input sample n * input_rate / output_rate, and only comes later. How much later is measured once for each
pair of rates, because soxr works in blocks of its own choice.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import soxr
from numpy.typing import NDArray

from audiotool.errors import StreamError

QUALITY = "HQ"
"""soxr's 20-bit recipe: stop band at -125 dB, flat to 91 % of the lower rate's half."""


class StreamingResampler:
    """A stream from one sample rate to another; float32 (channels, time).

    Args:
        input_rate, output_rate: Hz; equal rates pass blocks through.
        channels: rows of every block.
    """

    def __init__(self, input_rate: int, output_rate: int, channels: int) -> None:
        self.input_rate = input_rate
        self.output_rate = output_rate
        self.channels = channels
        self.reset()

    def reset(self) -> None:
        """Begin a new stream."""
        self._consumed = 0
        self._emitted = 0
        self._ended = False
        self._stream = (
            None
            if self.input_rate == self.output_rate
            else soxr.ResampleStream(self.input_rate, self.output_rate, self.channels, "float32", QUALITY)
        )

    @property
    def lag(self) -> int:
        """Most output samples that are still inside when the input so far has been fed."""
        return resampling_lag(self.input_rate, self.output_rate)

    def output_length(self, length: int) -> int:
        """Output samples that belong to `length` input samples: all whose time is before the input's end."""
        return -(-length * self.output_rate // self.input_rate)

    def feed(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Consume (channels, any time) and return what is ready.

        Raises:
            StreamError: the stream has ended.
        """
        if self._ended:
            raise StreamError("this resampler has ended: call reset() before feeding another stream")
        self._consumed += block.shape[-1]
        if self._stream is None:
            output = block
        else:
            frames = np.ascontiguousarray(block.T, dtype=np.float32)
            output = self._stream.resample_chunk(frames).reshape(-1, self.channels).T
        self._emitted += output.shape[-1]
        return output

    def flush(self, length: int | None = None) -> NDArray[np.float32]:
        """End the stream: the outputs sum to `length`, by default `output_length(all input)`.

        Raises:
            StreamError: the stream has ended already.
        """
        if self._ended:
            raise StreamError("this resampler has ended already")
        self._ended = True
        wanted = self.output_length(self._consumed) if length is None else length
        if self._stream is None:
            return np.zeros((self.channels, wanted - self._emitted), np.float32)
        # soxr rounds the length its own way; a few more zeros make sure that enough comes.
        extra = 2 + math.ceil(2 * self.input_rate / self.output_rate)
        padding = np.zeros((extra, self.channels), np.float32)
        tail = self._stream.resample_chunk(padding, last=True).reshape(-1, self.channels).T
        missing = wanted - self._emitted - tail.shape[-1]
        if missing > 0:
            tail = np.pad(tail, ((0, 0), (0, missing)))
        return tail[:, : max(wanted - self._emitted, 0)]


@functools.lru_cache(maxsize=64)
def resampling_lag(input_rate: int, output_rate: int) -> int:
    """Output samples by which a stream between two rates may lag, found by pushing silence through it."""
    if input_rate == output_rate:
        return 0
    stream = soxr.ResampleStream(input_rate, output_rate, 1, "float32", QUALITY)
    step = max(1, input_rate // 1000)
    silence = np.zeros((step, 1), np.float32)
    emitted, lag = 0, 0
    for n in range(1, 1001):
        emitted += len(stream.resample_chunk(silence))
        lag = max(lag, -(-n * step * output_rate // input_rate) - emitted)
    # Between two of the pushes another step's worth may have waited.
    return lag + -(-step * output_rate // input_rate)
