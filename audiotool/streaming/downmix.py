"""Mix a recording's channels to one, block by block, however it is cut into blocks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from audiotool.audio.mono import AVERAGED, ONE, PART, QUIET, REMARKS, cancelled, covariance, mixes
from audiotool.errors import StreamError
from audiotool.streaming.carried import DAMAGED, Carrier, Value

FIRST_PART = PART // 8
"""Length in samples of the first parts: 62 ms at 16 kHz."""

RAMP = 80
"""Samples in which one mix becomes another: 5 ms at 16 kHz."""

LOUD = 1e-3
"""Power that the loudest part is taken to have at least: idle noise before the first sound is not checked.
The quietest parts that are checked have the power of two channels' dither of 16 bits."""


class StreamingDownmix(Carrier):
    """Changes the mix where it cancels a sound, to the one that has cancelled none for the longest time.

    The mixes are those of `audio.mono`, as they are found where the mean first cancels a sound. The recording
    is checked in parts. They are `FIRST_PART` long until a sound begins. Then each is twice as long as the
    one before, up to `PART`: a long part is judged more safely, and a short one loses little of a sound's
    beginning.

    Args:
        channels: of the recording.
        ahead: mix a part after it has been checked. Otherwise there is no latency, but the result of checking
            a part applies from the next part on: a sound that is cancelled is lost for one part. Where it
            begins amid another sound, the rest of that part may be lost before that, and with `ahead` too.

    Attributes:
        how: the last of the kinds `AVERAGED`, `TURNED` and `ONE` that was needed so far.
    """

    carries = ("how", "_part", "_filled", "_length", "_count", "_loudest", "_mixes", "_lost", "_weights")

    def __init__(self, channels: int, ahead: bool = False) -> None:
        self.how = AVERAGED
        self._ahead = ahead
        # The present part: samples so far, and its length.
        self._part = np.zeros((channels, PART), np.float32)
        self._filled, self._length = 0, FIRST_PART
        self._count = 0  # parts so far
        self._loudest = LOUD
        # The mixes, and the number of the part in which each last cancelled a sound; 0 for none.
        self._mixes: NDArray[np.float32] = np.full((1, channels), 1 / channels, np.float32)
        self._lost = np.zeros(1, np.int64)
        # (2, channels): before the last check and after it.
        self._weights: NDArray[np.float32] = self._mixes.repeat(2, 0)

    @property
    def remark(self) -> str | None:
        """Remark for the user on what was done in place of an average."""
        return REMARKS.get(self.how)

    def restore(self, state: Value) -> None:
        super().restore(state)
        # With other numbers `feed` would not end.
        if not (0 <= self._filled < self._length <= PART and AVERAGED <= self.how <= ONE):
            raise StreamError(DAMAGED)

    def feed(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """(channels, time) -> (1, time), or with `ahead` as much as is complete."""
        mixed = [np.zeros((1, 0), np.float32)]
        while block.shape[-1]:
            taken, block = np.split(block, [self._length - self._filled], axis=-1)
            if not self._ahead:
                mixed.append(self._mix(taken))
            self._part[:, self._filled : self._filled + taken.shape[-1]] = taken
            self._filled += taken.shape[-1]
            if self._filled == self._length:
                mixed.append(self.flush())
        return np.concatenate(mixed, axis=-1)

    def flush(self) -> NDArray[np.float32]:
        """End the present part and return what has not been returned of it, (1, time)."""
        part = self._part[:, : self._filled]
        self._check(part)
        self._filled = 0
        return self._mix(part if self._ahead else part[:, :0])

    def _mix(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mix the next samples (channels, time) of the present part."""
        before, now = self._weights
        mixed: NDArray[np.float32] = now @ samples
        begins = samples[:, : max(0, RAMP - self._filled)]
        share = 1 - np.arange(self._filled, self._filled + begins.shape[-1], dtype=np.float32) / RAMP
        mixed[: begins.shape[-1]] += share * ((before - now) @ begins)
        return mixed[None]

    def _check(self, part: NDArray[np.float32]) -> None:
        """Choose the mix by a part (channels, time) that has ended."""
        self._count += 1
        seen = covariance(part)
        power = float(np.trace(seen))
        self._loudest = max(self._loudest, power)
        lost = cancelled(self._mixes, seen[None], self._loudest)[0]
        if lost[0] and len(lost) == 1:
            self._mixes = mixes(seen)
            self._lost = np.zeros(len(self._mixes), np.int64)
            lost = cancelled(self._mixes, seen[None], self._loudest)[0]
        self._lost[lost] = self._count
        best = int(self._lost.argmin())
        self.how = max(self.how, min(best, ONE))
        self._weights = np.stack((self._weights[1], self._mixes[best]))
        if power > QUIET * self._loudest:
            self._length = min(2 * self._length, PART)
