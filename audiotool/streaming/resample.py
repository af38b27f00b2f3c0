"""Resample a stream of blocks of any size; the output has the exact length and is aligned with the input.

The filter (`streaming/polyphase.py`) looks as far ahead as back. That delay is taken out: output sample n
lies at the time of input sample n * input_rate / output_rate. It is only returned later.
"""

from __future__ import annotations

import numpy as np

from audiotool.arrays import Block
from audiotool.errors import StreamError
from audiotool.streaming.carried import Carrier
from audiotool.streaming.polyphase import PolyphaseFilter, filter_between


class StreamingResampler(Carrier):
    """Resample a stream of float32 (channels, time) from one sample rate to another.

    Frequencies below 90 % of the lower rate's Nyquist frequency pass within 0.01 dB. Images and aliases are
    100 dB down. The output does not depend on the block sizes.

    Args:
        input_rate, output_rate: Hz; equal rates pass blocks through.
        channels: rows of every block.
    Raises:
        StreamError: the input's rate is more than 500 times the output's.
    """

    carries = ("_consumed", "_emitted", "_held")

    def __init__(self, input_rate: int, output_rate: int, channels: int) -> None:
        self.input_rate = input_rate
        self.output_rate = output_rate
        self.channels = channels
        self._filter = None if input_rate == output_rate else filter_between(input_rate, output_rate)
        self.reset()

    def reset(self) -> None:
        """Begin a new stream."""
        self._consumed = 0
        self._emitted = 0
        self._ended = False
        # Before a stream there is silence.
        silence = 0 if self._filter is None else -self._filter.first_input(0)
        self._held = np.zeros((self.channels, silence), np.float32)

    @property
    def lag(self) -> int:
        """Greatest number of output samples that are not returned yet when their input has been fed."""
        if self._filter is None:
            return 0
        return -(-self._filter.reach * self.output_rate // self.input_rate)

    def output_length(self, length: int) -> int:
        """Return the number of output samples for `length` input samples: those before the input's end."""
        return -(-length * self.output_rate // self.input_rate)

    def feed(self, block: Block) -> Block:
        """Consume (channels, time), finite, any time >= 0, and return the output that is ready.

        Raises:
            StreamError: the stream has ended.
        """
        if self._ended:
            raise StreamError("this stream has ended: call reset() before feeding another")
        self._consumed += block.shape[-1]
        if self._filter is None or not block.shape[-1]:
            self._emitted += block.shape[-1]
            return block
        return self._advance(self._filter, block, self._filter.known(self._consumed))

    def flush(self, length: int | None = None) -> Block:
        """End the stream and return its tail.

        All outputs together then have `length` samples, by default `output_length` of all input.

        Raises:
            StreamError: the stream has ended already.
        """
        if self._ended:
            raise StreamError("this stream has ended already")
        self._ended = True
        wanted = max(self.output_length(self._consumed) if length is None else length, self._emitted)
        if self._filter is None or wanted == self._emitted:
            return np.zeros((self.channels, wanted - self._emitted), np.float32)
        # After a stream there is silence.
        missing = max(self._filter.last_input(wanted - 1) + 1 - self._consumed, 0)
        return self._advance(self._filter, np.zeros((self.channels, missing), np.float32), wanted)

    def _advance(self, between: PolyphaseFilter, block: Block, stop: int) -> Block:
        """Add a block, return the outputs before number `stop`, and keep the input of later outputs."""
        held = self._held.shape[-1]
        window = np.empty((self.channels, held + block.shape[-1]), np.float32)
        window[:, :held] = self._held
        window[:, held:] = block
        output = between.apply(window, self._emitted, stop)
        passed = between.first_input(stop) - between.first_input(self._emitted)
        self._held = window[:, passed:].copy()
        self._emitted = stop
        return output
