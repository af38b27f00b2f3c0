"""Mix several channels to one, by a rule that cancels as little sound as possible.

There are three kinds of mixes: the channels' mean; the mean with those channels turned over that are opposite
to the first (a microphone of reversed polarity, a widened mono recording); one channel alone. A whole
recording gets the first mix that cancels sound in the fewest parts. `streaming.downmix` changes the mix
within a recording.
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

AVERAGED, TURNED, ONE, LOSING = range(4)
REMARKS = {
    TURNED: "channels of opposite polarity cancel: some are turned over before all are averaged",
    ONE: "channels cancel in places when they are averaged: one alone is taken, at least there",
    LOSING: "channels cancel in places, whichever way they are mixed",
}


@np.errstate(invalid="ignore", over="ignore")
def covariance(part: Samples) -> Samples:
    """Return the covariance (channels, channels) by which a part (channels, time) is checked.

    It is that of the differences of successive samples, which neither a constant offset nor rumble decides.
    """
    slopes = np.diff(part)
    product: Samples = slopes @ slopes.T / np.float32(max(1, slopes.shape[1]))
    return product


def mixes(covariance: Samples) -> Samples:
    """Return the weights (2 + channels, channels) of all mixes, in the order in which they are preferred: the
    mean, the mean with channels turned over, each channel alone from the loudest on."""
    count, power = len(covariance), covariance.diagonal()
    signs = np.where(covariance[_first(power)] < 0, -1, 1)
    alone = np.eye(count)[np.argsort(-power, kind="stable")]
    return np.vstack((np.full(count, 1 / count), signs / count, alone)).astype(np.float32)


@np.errstate(invalid="ignore", over="ignore")
def cancelled(weights: Samples, covariances: Samples, loudest: float) -> NDArray[np.bool_]:
    """Return which mixes cancel sound of which parts, (parts, mixes).

    Args:
        weights: (mixes, channels).
        covariances: (parts, channels, channels).
        loudest: power of the loudest part, of all channels together.
    """
    power = np.trace(covariances, axis1=-2, axis2=-1)[:, None]
    left = (weights @ covariances * weights).sum(-1)
    lost: NDArray[np.bool_] = (left < LOST * power / weights.shape[1] ** 2) & (power > QUIET * loudest)
    return lost


def weigh(samples: Samples) -> tuple[Samples, int]:
    """Return the weights (channels,) that mix a whole recording (channels, time), and their kind: `AVERAGED`,
    `TURNED` or `ONE` if they cancel no sound, otherwise `LOSING`."""
    # No short rest: few samples are opposite by chance.
    cut = np.array_split(samples, max(1, samples.shape[1] // PART), axis=1)
    parts = np.stack([covariance(part) for part in cut])
    found = mixes(parts.sum(0))
    loudest = float(np.trace(parts, axis1=-2, axis2=-1).max())
    losses = cancelled(found, parts, loudest).sum(0)
    best = int(losses.argmin())
    return found[best], LOSING if losses[best] else min(best, ONE)


def to_mono(samples: Samples, name: str) -> Samples:
    """(channels, time) of a whole recording or an excerpt -> (time,).

    A warning is logged if the result is not the channels' mean, once for each name.
    """
    mixed: Samples = samples[0] if len(samples) == 1 else mixing_weights(samples, name) @ samples
    return mixed


def mixing_weights(samples: Samples, name: str) -> Samples:
    """Return the weights (channels,) that mix a recording (channels, time) of two channels or more.

    A warning is logged as by `to_mono`.
    """
    weights, how = weigh(samples)
    if how in REMARKS:
        _say(name, REMARKS[how])
    return weights


def first_alone(samples: Samples) -> NDArray[np.float32]:
    """Return the weights (channels,) that leave the first channel that holds sound of a recording
    (channels, time) alone."""
    return np.eye(len(samples), dtype=np.float32)[_first(np.einsum("ct,ct->c", samples, samples))]


def _first(energies: NDArray[np.float32]) -> int:
    """Return the first channel that holds sound."""
    return int(np.argmax(energies > LOST * energies.max()))


@functools.lru_cache(maxsize=1 << 16)
def _say(name: str, remark: str) -> None:
    log.warning("%s: %s", name, remark)
