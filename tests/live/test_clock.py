"""Input that a device loses without a word is seen by the clock."""

from __future__ import annotations

import numpy as np
import pytest
from kit.devices import BLOCK, RATE

from audiotool.live.clock import InputClock


def clocked(*events: tuple[float, int], rate: int = RATE) -> float:
    """What a clock says is lost after callbacks of so many samples at so many seconds."""
    clock = InputClock(rate)
    for now, frames in events:
        clock.take(frames, now)
    clock.close()
    return clock.lost_seconds


def steady(begin: float, seconds: float, speed: float = 1.0) -> list[tuple[float, int]]:
    """Callbacks as they are due, each up to 4 ms late."""
    rng, step = np.random.default_rng(0), BLOCK / RATE / speed
    return [(begin + n * step + 0.004 * rng.random(), BLOCK) for n in range(round(seconds / step))]


def test_input_that_is_lost_without_a_word() -> None:
    assert clocked(*steady(0, 30)) == 0.0
    assert clocked(*steady(0, 600, 1.0002)) == 0.0
    assert clocked(*steady(0, 600, 0.9998)) == 0.0
    # A stall, after which all comes at once, has lost nothing.
    stalled = [(max(now, 6.4) if 6.0 < now < 6.4 else now, frames) for now, frames in steady(0, 12)]
    assert clocked(*stalled) == 0.0
    gone = [(now, frames) for now, frames in steady(0, 12) if not 6.0 < now < 6.4]
    assert clocked(*gone) == pytest.approx(0.4, abs=0.02)
    dropped = [event for n, event in enumerate(steady(0, 30)) if n % 100]
    assert clocked(*dropped) == pytest.approx(30 / 100, rel=0.2)
