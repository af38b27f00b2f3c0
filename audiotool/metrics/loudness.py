"""Integrated loudness by ITU-R BS.1770-4, with gating.

The K-weighting filters are those of pyloudnorm, run over a stream; the gates are the standard's. The memory
grows by ten numbers a second of the recording.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiotool.metrics.base import NonIntrusiveMetric, Recording, Unscorable, Waveform

STEP_S = 0.1
"""Seconds between the beginnings of gating blocks."""

STEPS = 4
"""Number of steps in a gating block."""

CHANNEL_WEIGHTS = (1.0, 1.0, 1.0, 1.41, 1.41)
"""Weights of the left, right, centre, left surround and right surround channel."""

ABSOLUTE_GATE_LUFS, RELATIVE_GATE_LU = -70.0, -10.0


class Loudness(NonIntrusiveMetric):
    """Integrated loudness of all channels together."""

    name = "loudness"
    unit = "LUFS"
    higher_is_better = None
    needs = ("pyloudnorm",)

    def rate(self, recording: Recording) -> float:
        self.check()
        if recording.channels > len(CHANNEL_WEIGHTS):
            raise Unscorable("loudness is defined for five channels at most")
        energies, length = _energies(recording)
        block_s = STEPS * STEP_S
        if length < block_s * recording.sample_rate:
            raise Unscorable(f"shorter than a gating block of {block_s} s")
        count = int(np.round((length / recording.sample_rate - block_s) / STEP_S)) + 1
        padded = np.append(energies, np.zeros(STEPS))
        sums = np.convolve(padded, np.ones(STEPS), "valid")[:count]
        return _gated(sums / (block_s * recording.sample_rate))


def _energies(recording: Recording) -> tuple[NDArray[np.float64], int]:
    """Return the K-weighted energy of each step, summed over weighted channels, and the number of samples."""
    weights = np.array(CHANNEL_WEIGHTS[: recording.channels])[:, None]
    filters = _KWeighting(recording.sample_rate, recording.channels)
    energies = np.zeros(1)
    length = 0
    for block in recording.read():
        power = (np.square(filters(block.astype(np.float64))) * weights).sum(axis=0)
        # The step of each sample: there are ten a second.
        steps = np.arange(length, length + len(power)) * 10 // recording.sample_rate
        length += len(power)
        if len(power):
            energies = np.append(energies, np.zeros(steps[-1] + 1 - len(energies)))
            energies[steps[0] :] += np.bincount(steps - steps[0], power)
    return energies, length


def _gated(powers: NDArray[np.float64]) -> float:
    """Return the loudness of the blocks that pass both gates, from their mean powers."""
    passed = powers[_lufs(powers) >= ABSOLUTE_GATE_LUFS]
    if not len(passed):
        raise Unscorable(f"quieter than {ABSOLUTE_GATE_LUFS:g} LUFS throughout")
    gate = float(_lufs(passed.mean())) + RELATIVE_GATE_LU
    return float(_lufs(passed[_lufs(passed) > gate].mean()))


def _lufs(power: Any) -> NDArray[np.float64]:
    with np.errstate(divide="ignore"):
        level: NDArray[np.float64] = -0.691 + 10 * np.log10(power)
    return level


class _KWeighting:
    """The two filters of the standard's K-weighting, applied to blocks of a stream."""

    def __init__(self, sample_rate: int, channels: int) -> None:
        from pyloudnorm import IIRfilter

        stages = [
            IIRfilter(4.0, 1 / math.sqrt(2), 1500.0, sample_rate, "high_shelf"),
            IIRfilter(0.0, 0.5, 38.0, sample_rate, "high_pass"),
        ]
        self._coefficients = [(stage.b, stage.a) for stage in stages]
        self._states = [np.zeros((channels, 2)) for _ in stages]

    def __call__(self, block: Waveform) -> Waveform:
        from scipy.signal import lfilter

        for n, (numerator, denominator) in enumerate(self._coefficients):
            block, self._states[n] = lfilter(numerator, denominator, block, axis=1, zi=self._states[n])
        return block
