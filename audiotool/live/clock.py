"""Detect input that a device has lost without reporting it, by comparing the samples with the clock."""

from __future__ import annotations

import math

WINDOW_SECONDS = 1.0
"""Length of a window in seconds. The earliest callback of a window measures how late the input is. A device's
clock drifts little in a window."""

TOLERANCE_SECONDS = 0.005
"""Smallest jump in seconds that counts as lost input. Smaller ones come from scheduling."""


class InputClock:
    """Measure how much input is missing.

    A callback may come late, and several may follow at once, but none comes before its samples were recorded.
    In each window the earliest callback therefore measures by how much the samples are behind the clock. A
    jump of this number from one window to the next is missing input. Clocks of sound devices drift by at most
    0.2 ms in a second.

    Args:
        sample_rate: Hz.
    Attributes:
        lost_seconds: length of the missing input so far, in seconds.
    """

    def __init__(self, sample_rate: int) -> None:
        self.lost_seconds = 0.0
        self._rate = sample_rate
        self._frames = 0
        self._behind = math.inf
        self._least = math.inf
        self._until = -math.inf

    def take(self, frames: int, now: float) -> None:
        """Count a callback.

        Args:
            frames: its samples a channel.
            now: time of the callback in seconds.
        """
        self._frames += frames
        if now > self._until:
            self.close()
            self._until = now + WINDOW_SECONDS
        self._least = min(self._least, now - self._frames / self._rate)

    def close(self) -> None:
        """End the window. The caller does so after the last callback."""
        missing = self._least - self._behind
        if math.isfinite(missing) and missing > TOLERANCE_SECONDS:
            self.lost_seconds += missing
        self._behind, self._least = self._least, math.inf
