"""Levels of speech and noise as mixing needs them."""

from __future__ import annotations

import numpy as np

from audiotool.data.clips import Samples

FRAME_SECONDS = 0.02
ACTIVE_DB = 30.0
SILENCE = 1e-10  # mean square of -100 dBFS


def active_rms(waveform: Samples, sample_rate: int) -> float:
    """Root mean square over the active 20 ms frames: those less than 30 dB under the loud ones.

    Loud is the 95th percentile of frame energies, so one click does not decide. Pauses and digital silence do
    not count: an SNR means the same for a sparse sentence and for a dense one. Zero when all is silent.

    Args:
        waveform: (T,) float32.
        sample_rate: Hz.
    """
    size = int(FRAME_SECONDS * sample_rate)
    count = len(waveform) // size
    if count == 0:
        rms = float(np.sqrt(np.mean(np.square(waveform)))) if len(waveform) else 0.0
        return rms if rms**2 > SILENCE else 0.0
    frames = waveform[: count * size].reshape(count, size)
    energy = np.einsum("ij,ij->i", frames, frames) / size
    heard = energy[energy > SILENCE]
    if not len(heard):
        return 0.0
    loud = np.partition(heard, int(0.95 * (len(heard) - 1)))[int(0.95 * (len(heard) - 1))]
    return float(np.sqrt(np.mean(heard[heard > loud * 10 ** (-ACTIVE_DB / 10)])))


def decibels(ratio: float) -> float:
    """Amplitude ratio to decibels, -inf for zero."""
    return 20 * float(np.log10(ratio)) if ratio > 0 else float("-inf")


def amplitude(db: float) -> float:
    """Decibels to amplitude ratio."""
    return float(10 ** (db / 20))
