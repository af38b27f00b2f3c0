"""Mix a stream's channels to one, without look-ahead, however the stream is cut."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from audiotool.audio.mono import AVERAGED, ONE, PART, Downmix
from audiotool.errors import StreamError
from audiotool.streaming.carried import DAMAGED, Carrier, Value

FIRST_PART = PART // 8
"""Length in samples of the first parts: 62 ms at 16 kHz."""


class StreamingDownmix(Carrier):
    """As `audio.mono.Downmix`, but the result of checking a part applies from the next part on.

    A sound that the channels' mean cancels is thus lost for one part. The parts are `FIRST_PART` long until a
    sound begins. Then each is twice as long as the one before, up to `PART`: a long part is judged more
    safely, and a short one loses little of a sound's beginning.

    Args:
        channels: of the stream.
    """

    carries = ("_part", "_filled", "_length", "_how", "_weights")

    def __init__(self, channels: int) -> None:
        # The present part: samples so far, and its length.
        self._part = np.zeros((channels, PART), np.float32)
        self._filled, self._length = 0, FIRST_PART
        self._how = AVERAGED
        self._weights: NDArray[np.float32] = np.full(channels, 1 / channels, np.float32)

    def restore(self, state: Value) -> None:
        super().restore(state)
        # With other numbers `feed` would not end.
        if not (0 <= self._filled < self._length <= PART and AVERAGED <= self._how <= ONE):
            raise StreamError(DAMAGED)

    def feed(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """(channels, time) -> (1, time)."""
        mixed = np.empty((1, block.shape[-1]), np.float32)
        begin = 0
        while begin < block.shape[-1]:
            taken = block[:, begin : begin + self._length - self._filled]
            end = begin + taken.shape[-1]
            mixed[0, begin:end] = self._weights @ taken
            self._part[:, self._filled : self._filled + taken.shape[-1]] = taken
            self._filled += taken.shape[-1]
            if self._filled == self._length:
                self._decide()
            begin = end
        return mixed

    def _decide(self) -> None:
        """Check the part, whose end has come, and begin the next."""
        part, downmix = self._part[:, : self._length], Downmix(self._how, self._weights)
        downmix(part)
        assert downmix.weights is not None
        self._how, self._weights = downmix.how, downmix.weights
        if part.any():
            self._length = min(2 * self._length, PART)
        self._filled = 0
