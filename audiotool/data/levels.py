"""Levels of speech and noise for mixing."""

from __future__ import annotations

import numpy as np

from audiotool.data.clips import Samples

FRAME_SECONDS = 0.02
ACTIVE_DB = 30.0
SILENCE = 1e-10  # mean square of -100 dBFS


def active_rms(waveform: Samples, sample_rate: int) -> float:
    """Return the root mean square over the active 20 ms frames: those less than 30 dB below the loud ones.

    The level of loud frames is the 95th percentile of frame energies, so that a single click does not
    determine it. Pauses and digital silence do not count, so an SNR means the same for sparse and for dense
    speech. The result is 0 for silence.

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
    audible = energy[energy > SILENCE]
    if not len(audible):
        return 0.0
    place = int(0.95 * (len(audible) - 1))
    loud = np.partition(audible, place)[place]
    return float(np.sqrt(np.mean(audible[audible > loud * 10 ** (-ACTIVE_DB / 10)])))


def snr_db(speech: Samples, noise: Samples, sample_rate: int) -> float | None:
    """Return the active level of speech over that of noise in dB, to two places; None if one is silent.

    Args:
        speech, noise: (T,) float32.
        sample_rate: Hz.
    """
    levels = active_rms(speech, sample_rate), active_rms(noise, sample_rate)
    return round(decibels(levels[0] / levels[1]), 2) if min(levels) > 0 else None


def decibels(ratio: float) -> float:
    """Convert an amplitude ratio to dB, -inf for 0."""
    return 20 * float(np.log10(ratio)) if ratio > 0 else float("-inf")


def amplitude(db: float) -> float:
    """Convert dB to an amplitude ratio."""
    return float(10 ** (db / 20))
