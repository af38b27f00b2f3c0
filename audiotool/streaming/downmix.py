"""Mix a stream's channels to one, without look-ahead, however the stream is cut."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from audiotool.audio.mono import AVERAGED, PART, Downmix
from audiotool.streaming.carried import Carrier


class StreamingDownmix(Carrier):
    """As `audio.mono.Downmix`, but what is found in one part applies from the next on.

    A sound that the channels' mean cancels is thus lost for `PART` samples at most.

    Args:
        channels: of the stream.
    """

    carries = ("_part", "_how", "_weights")

    def __init__(self, channels: int) -> None:
        self._part = np.zeros((channels, 0), np.float32)
        self._how = AVERAGED
        self._weights: NDArray[np.float32] = np.full(channels, 1 / channels, np.float32)

    def feed(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """(channels, time) -> (1, time)."""
        mixed = np.empty((1, block.shape[-1]), np.float32)
        begin = 0
        while begin < block.shape[-1]:
            taken = block[:, begin : begin + PART - self._part.shape[-1]]
            end = begin + taken.shape[-1]
            mixed[0, begin:end] = self._weights @ taken
            self._part = np.concatenate((self._part, taken), axis=-1)
            if self._part.shape[-1] == PART:
                self._decide()
            begin = end
        return mixed

    def _decide(self) -> None:
        downmix = Downmix(self._how, self._weights)
        downmix(self._part)
        assert downmix.weights is not None
        self._how, self._weights = downmix.how, downmix.weights
        self._part = self._part[:, :0].copy()
