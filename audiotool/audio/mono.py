"""Mix several channels to one, by a rule that cancels no sound.

Channels are averaged. If that cancels a sound (a microphone of reversed polarity, a widened mono recording),
channels that are opposite to the first are inverted before. If that cancels a sound elsewhere, because the
polarity changes within the recording, the loudest channel alone is used.
"""

from __future__ import annotations

import functools
import logging

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger(__name__)

Samples = NDArray[np.float32]

PART = 8000
"""Length in samples of the parts that are checked for cancelled sound: half a second at 16 kHz."""

LOST = 0.2
"""Sound is cancelled in a part if the mix has less than this share of the power that uncorrelated channels
would have: for two equally loud channels if their correlation is below -0.8."""

QUIET = 1e-6
"""Parts so far below the loudest (60 dB) are not checked."""

AVERAGED, TURNED, ONE = range(3)
REMARKS = {
    TURNED: "channels of opposite polarity cancel: some are turned over before all are averaged",
    ONE: "channels cancel in places when they are averaged: the loudest alone is taken",
}


class Downmix:
    """Mixes the channels of one recording to one, in blocks of any length, in their order.

    Args:
        how, weights: of another downmix, which this one continues.

    Attributes:
        how: `AVERAGED`, `TURNED` or `ONE`: the first of them that has cancelled nothing so far.
        weights: of the channels in the mix; None before the first samples.
    """

    def __init__(self, how: int = AVERAGED, weights: NDArray[np.float32] | None = None) -> None:
        self.how = how
        self.weights = weights

    @property
    def remark(self) -> str | None:
        """Remark for the user on what was done in place of an average."""
        return REMARKS.get(self.how)

    def __call__(self, samples: Samples) -> Samples:
        """(channels, time) -> (time,)."""
        if len(samples) == 1:
            return samples[0]
        while True:
            if self.weights is None or len(self.weights) != len(samples):
                self.weights = _weights(samples, self.how)
            mixed: Samples = self.weights @ samples
            if self.how == ONE or not _loses(samples, mixed):
                return mixed
            self.how += 1
            self.weights = None


def to_mono(samples: Samples, name: str) -> Samples:
    """(channels, time) of a whole recording or an excerpt -> (time,).

    A warning is logged if the result is not the channels' mean, once for each name.
    """
    downmix = Downmix()
    mixed = downmix(samples)
    if downmix.remark is not None:
        _say(name, downmix.remark)
    return mixed


def mixing_weights(samples: Samples, name: str) -> NDArray[np.float32]:
    """Return the weights (channels,) that mix a recording (channels, time) of two channels or more.

    A warning is logged as by `to_mono`.
    """
    downmix = Downmix()
    downmix(samples)
    if downmix.remark is not None:
        _say(name, downmix.remark)
    assert downmix.weights is not None
    return downmix.weights


def first_alone(samples: Samples) -> NDArray[np.float32]:
    """Return the weights (channels,) that leave the first channel that holds sound of a recording
    (channels, time) alone."""
    return np.eye(len(samples), dtype=np.float32)[_first(np.einsum("ct,ct->c", samples, samples))]


def _weights(samples: Samples, how: int) -> NDArray[np.float32]:
    """Return the weight of each channel."""
    count = len(samples)
    if how == AVERAGED:
        return np.full(count, 1 / count, np.float32)
    energies = np.einsum("ct,ct->c", samples, samples)
    if how == ONE:
        return np.eye(count, dtype=np.float32)[int(energies.argmax())]
    signs = np.where(samples @ samples[_first(energies)] < 0, -1, 1)
    return (signs / count).astype(np.float32)


def _first(energies: NDArray[np.float32]) -> int:
    """Return the first channel that holds sound."""
    return int(np.argmax(energies > LOST * energies.max()))


def _loses(samples: Samples, mixed: Samples) -> bool:
    """Whether the mix cancels a sound of the channels."""
    begins = np.arange(0, max(1, len(mixed)), PART)
    if not len(mixed):
        return False
    there = np.add.reduceat(np.einsum("ct,ct->t", samples, samples), begins) / len(samples)
    left = np.add.reduceat(mixed * mixed, begins)
    return bool(((len(samples) * left < LOST * there) & (there > QUIET * there.max())).any())


@functools.lru_cache(maxsize=1 << 16)
def _say(name: str, remark: str) -> None:
    log.warning("%s: %s", name, remark)
