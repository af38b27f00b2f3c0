"""Input that a device has lost without a word: the samples that came, held against the clock."""

from __future__ import annotations

import math

WINDOW_SECONDS = 1.0
"""The most punctual callback of so long says how late the input is; a device's clock may drift meanwhile."""

TOLERANCE_SECONDS = 0.005
"""Smaller jumps are scheduling."""


class InputClock:
    """How much input is missing.

    A callback may come late, and several at once after that, but none comes before its samples were recorded:
    of the callbacks of a second, the most punctual one tells how far the samples are behind the clock. Where
    that jumps, samples are missing. Clocks of sound devices are off by 0.2 ms in a second at most.

    Args:
        sample_rate: Hz.
    Attributes:
        lost_seconds: so far.
    """

    def __init__(self, sample_rate: int) -> None:
        self.lost_seconds = 0.0
        self._rate = sample_rate
        self._frames = 0
        self._behind = math.inf
        self._least = math.inf
        self._until = -math.inf

    def take(self, frames: int, now: float) -> None:
        """Count samples of a callback that came at a time in seconds."""
        self._frames += frames
        if now > self._until:
            self.close()
            self._until = now + WINDOW_SECONDS
        self._least = min(self._least, now - self._frames / self._rate)

    def close(self) -> None:
        """End a window; at the end, that of the last callbacks."""
        missing = self._least - self._behind
        if math.isfinite(missing) and missing > TOLERANCE_SECONDS:
            self.lost_seconds += missing
        self._behind, self._least = self._least, math.inf
