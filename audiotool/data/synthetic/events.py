"""Synthetic noises that consist of events: textures, bursts, water, calls, notes.

They begin and end as speech does. A denoiser that was trained with stationary noise only takes them for
speech. Each function returns (frames,) float32 of no particular level; everything is drawn from the
generator.
"""

from __future__ import annotations

import numpy as np
import scipy.fft
import scipy.signal
from numpy.typing import NDArray

from audiotool.data.clips import Samples
from audiotool.data.synthetic.spectra import harmonics, shaped

Places = NDArray[np.int64]

LOWEST_HZ, HIGHEST_HZ = 100.0, 7000.0


def texture(rng: np.random.Generator, frames: int, sample_rate: int) -> Samples:
    """Return bands of noise whose levels vary independently: surf, applause, frying, leaves, passing cars."""
    total = np.zeros(frames, np.float32)
    quickest = _log_uniform(rng, 1, 60)
    spread = rng.uniform(3, 12)
    for _ in range(int(rng.integers(3, 9))):
        changes = _log_uniform(rng, 0.5, quickest + 0.5)
        count = max(2, int(frames / sample_rate * changes) + 1)
        levels = np.interp(np.linspace(0, count - 1, frames), np.arange(count), rng.normal(0, spread, count))
        loudness = 10 ** ((levels + rng.normal(0, 6)) / 20)
        total += _band(rng, frames, sample_rate) * loudness.astype(np.float32)
    return total


def bursts(rng: np.random.Generator, frames: int, sample_rate: int) -> Samples:
    """Return bursts of noise, each source in its own band: steps, rustling, brakes, coughs, chewing,
    sprays."""
    total = np.zeros(frames, np.float32)
    for _ in range(int(rng.integers(1, 4))):
        attack, decay = _log_uniform(rng, 0.0005, 0.03), _log_uniform(rng, 0.005, 0.4)
        time = np.arange(int((attack + 5 * decay) * sample_rate) + 1, dtype=np.float32) / sample_rate
        kernel = (1 - np.exp(-time / attack)) * np.exp(-time / decay)
        impulses = _impulses(rng, frames, sample_rate, _log_uniform(rng, 0.7, 40))
        loudness = scipy.signal.oaconvolve(impulses, kernel.astype(np.float32))[:frames]
        total += _band(rng, frames, sample_rate) * loudness * 10 ** (rng.normal(0, 6) / 20)
    return total


def water(rng: np.random.Generator, frames: int, sample_rate: int) -> Samples:
    """Return bubbles: drops, streams, washing up, a lapping shore."""
    total = np.zeros(frames, np.float32)
    places = _places(rng, frames, sample_rate, _log_uniform(rng, 3, 120))
    lowest = _log_uniform(rng, 200, 1200)
    highest = lowest * _log_uniform(rng, 1.5, 8)
    slow = rng.uniform(0.3, 1.2)  # real bubbles in a vessel ring longer
    for place in places:
        hz = min(_log_uniform(rng, lowest, highest), 0.4 * sample_rate)
        ring = _bubble(hz, slow, rng.uniform(0, 0.1), sample_rate)[: frames - place]
        loudness = (lowest / hz) ** 1.5 * 10 ** (rng.normal(0, 5) / 20)
        total[place : place + len(ring)] += (loudness * ring).astype(np.float32)
    if rng.random() < 0.5:  # the stream's hiss
        hiss = _band(rng, frames, sample_rate)
        total += hiss * np.std(total) / max(float(np.std(hiss)), 1e-9) * 10 ** (rng.uniform(-25, 0) / 20)
    return total


def calls(rng: np.random.Generator, frames: int, sample_rate: int) -> Samples:
    """Return gliding tones: birds, dogs, sirens, squeaks, whistles, telephones."""
    total = np.zeros(frames, np.float32)
    base = _log_uniform(rng, LOWEST_HZ, 3500)
    reach = rng.uniform(0, 0.8)  # octaves
    length = _log_uniform(rng, 0.03, 1.2)
    trill = _log_uniform(rng, 3, 40)
    slope, hoarseness = rng.uniform(0.3, 2.5), rng.uniform(-40, -5)
    for place in _places(rng, frames, sample_rate, rng.uniform(0.3, 0.9) / length):
        size = min(int(length * rng.uniform(0.6, 1.5) * sample_rate) + 2, frames - place)
        time = np.linspace(0, 1, size, dtype=np.float32)
        octaves = np.interp(time, np.linspace(0, 1, 4), rng.normal(0, reach, 4))
        octaves = octaves + rng.choice([0.0, 0.1 * reach]) * np.sin(2 * np.pi * trill * length * time)
        hz = np.minimum(base * 2.0**octaves, 0.4 * sample_rate)
        sound = _tone(rng, hz / sample_rate, slope)
        sound += rng.standard_normal(size, dtype=np.float32) * np.std(sound) * 10 ** (hoarseness / 20)
        loudness = np.sin(np.pi * time ** rng.uniform(0.3, 1.5)) * 10 ** (rng.normal(0, 3) / 20)
        total[place : place + size] += (sound * loudness).astype(np.float32)
    return total


def notes(rng: np.random.Generator, frames: int, sample_rate: int) -> Samples:
    """Return tones of a scale, plucked or held, often several at once: instruments, jingles, ring tones."""
    total = np.zeros(frames, np.float32)
    root = _log_uniform(rng, 55, 440)
    scale = np.sort(rng.choice(12, int(rng.integers(3, 8)), replace=False))
    rate, voices = _log_uniform(rng, 0.8, 8), int(rng.integers(1, 4))
    slope, decay = rng.uniform(0.5, 2.5), _log_uniform(rng, 0.1, 3)
    attack = _log_uniform(rng, 0.002, 0.1)
    beat = int(sample_rate / rate)
    for place in range(int(rng.integers(beat)), frames - 1, beat):
        for _ in range(int(rng.integers(1, voices + 1))):
            semitones = rng.choice(scale) + 12 * rng.integers(0, 3)
            size = min(beat * int(rng.choice([1, 1, 2, 4])), frames - place)
            hz = np.full(size, min(root * 2 ** (semitones / 12), 0.4 * sample_rate))
            time = np.arange(size, dtype=np.float32) / sample_rate
            fade = np.minimum(1, (size - np.arange(size)) / (0.01 * sample_rate))
            loudness = (1 - np.exp(-time / attack)) * np.exp(-time / decay) * fade
            loudness *= 10 ** (rng.normal(0, 3) / 20)
            total[place : place + size] += (_tone(rng, hz / sample_rate, slope) * loudness).astype(np.float32)
    return total


def _bubble(hz: float, slow: float, rise: float, sample_rate: int) -> Samples:
    """Return one bubble down to -52 dB: a sine whose pitch rises while it decays, with a peak of about 1.

    A bubble at f Hz decays by exp(-d t), d = 0.043 f + 0.0014 f^1.5 a second, and rises as f (1 + r d t) does
    (van den Doel, Physically Based Models for Liquid Sounds, ACM Transactions on Applied Perception 2005,
    section 3).

    Args:
        slow: factor of d; below 1 it rings longer, as in a vessel.
        rise: r, 0 to 0.1: the more, the nearer to the surface.
    """
    decay = slow * (0.043 * hz + 0.0014 * hz**1.5)
    time = np.arange(int(6 / decay * sample_rate) + 1, dtype=np.float32) / sample_rate
    phase = 2 * np.pi * hz * time * (1 + rise * decay * time)
    return (np.sin(phase) * np.exp(-decay * time)).astype(np.float32)


def _band(rng: np.random.Generator, frames: int, sample_rate: int) -> Samples:
    """Return noise of about unit power in a band of 0.3 to 4 octaves with gentle slopes."""
    size = scipy.fft.next_fast_len(frames, real=True)
    centre = _log_uniform(rng, LOWEST_HZ, min(HIGHEST_HZ, 0.45 * sample_rate))
    width = _log_uniform(rng, 0.3, 4)
    frequency = np.linspace(0, sample_rate / 2, size // 2 + 1, dtype=np.float32)
    octaves = np.log2(np.maximum(frequency, 1.0) / centre)
    noise = shaped(rng, np.exp(-((2 * octaves / width) ** 2)).astype(np.float32), size)[:frames]
    return noise / max(float(np.std(noise)), 1e-9)


def _tone(rng: np.random.Generator, frequency: NDArray[np.floating], slope: float) -> Samples:
    """Return harmonics of a frequency in cycles a sample, without aliasing; the amplitude of the nth is
    n ** -slope times a random factor of 0.2 to 1."""
    count = max(1, min(int(rng.integers(1, 20)), int(0.45 / float(frequency.max()))))
    return harmonics(rng, frequency, np.arange(1, count + 1) ** -slope * rng.uniform(0.2, 1, count))


def _impulses(rng: np.random.Generator, frames: int, sample_rate: int, rate: float) -> Samples:
    impulses = np.zeros(frames, np.float32)
    places = _places(rng, frames, sample_rate, rate)
    impulses[places] = 10 ** (rng.normal(0, 6, len(places)) / 20)
    return impulses


def _places(rng: np.random.Generator, frames: int, sample_rate: int, rate: float) -> Places:
    """Return the samples at which events begin, `rate` a second: at least one, sometimes evenly spaced."""
    count = max(1, int(rng.poisson(rate * frames / sample_rate)))
    if rng.random() < 0.3:
        return np.linspace(0, frames - 1, count, endpoint=False).astype(np.int64)
    return rng.integers(frames, size=count)


def _log_uniform(rng: np.random.Generator, least: float, most: float) -> float:
    return float(np.exp(rng.uniform(np.log(least), np.log(most))))
