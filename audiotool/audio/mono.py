"""One channel out of several, by one rule, which loses nothing that is there.

Channels are averaged. Where that cancels a sound (a microphone wired the wrong way round, a widened mono
recording), channels opposite to the first are turned over before. Where that cancels one elsewhere, because
the polarity changes on the way, the loudest channel alone is taken.
"""

from __future__ import annotations

import functools
import logging

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger(__name__)

Samples = NDArray[np.float32]

PART = 8000
"""Samples of the parts in each of which nothing may be lost: half a second at 16 kHz."""

LOST = 0.2
"""A part is lost when less than this share is left of what uncorrelated channels leave: of two equally loud
channels when their correlation is below -0.8."""

QUIET = 1e-6
"""Parts this far below the loudest (60 dB) are not asked."""

AVERAGED, TURNED, ONE = range(3)
REMARKS = {
    TURNED: "channels of opposite polarity cancel: some are turned over before all are averaged",
    ONE: "channels cancel in places when they are averaged: the loudest alone is taken",
}


class Downmix:
    """The channels of one recording, made one; blocks of any length, in their order.

    Attributes:
        how: `AVERAGED`, `TURNED` or `ONE`: the first of them that has lost nothing so far.
    """

    def __init__(self) -> None:
        self.how = AVERAGED
        self._weights: NDArray[np.float32] | None = None

    @property
    def remark(self) -> str | None:
        """What was done in place of an average, for people."""
        return REMARKS.get(self.how)

    def __call__(self, samples: Samples) -> Samples:
        """(channels, time) -> (time,)."""
        if len(samples) == 1:
            return samples[0]
        while True:
            if self._weights is None or len(self._weights) != len(samples):
                self._weights = _weights(samples, self.how)
            mixed: Samples = self._weights @ samples
            if self.how == ONE or not _loses(samples, mixed):
                return mixed
            self.how += 1
            self._weights = None


def to_mono(samples: Samples, name: str) -> Samples:
    """(channels, time) of a whole recording or an excerpt -> (time,).

    A warning is logged when it is another thing than the channels' mean, once for each name.
    """
    downmix = Downmix()
    mixed = downmix(samples)
    if downmix.remark is not None:
        _say(name, downmix.remark)
    return mixed


def _weights(samples: Samples, how: int) -> NDArray[np.float32]:
    """Of each channel."""
    count = len(samples)
    if how == AVERAGED:
        return np.full(count, 1 / count, np.float32)
    energies = np.einsum("ct,ct->c", samples, samples)
    if how == ONE:
        return np.eye(count, dtype=np.float32)[int(energies.argmax())]
    first = int(np.argmax(energies > LOST * energies.max()))
    signs = np.where(samples @ samples[first] < 0, -1, 1)
    return (signs / count).astype(np.float32)


def _loses(samples: Samples, mixed: Samples) -> bool:
    """Whether a part of the channels is not in their mix."""
    begins = np.arange(0, max(1, len(mixed)), PART)
    if not len(mixed):
        return False
    there = np.add.reduceat(np.einsum("ct,ct->t", samples, samples), begins) / len(samples)
    left = np.add.reduceat(mixed * mixed, begins)
    return bool(((len(samples) * left < LOST * there) & (there > QUIET * there.max())).any())


@functools.lru_cache(maxsize=1 << 16)
def _say(name: str, remark: str) -> None:
    log.warning("%s: %s", name, remark)
