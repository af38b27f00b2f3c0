"""Synthetic noises of machines and of the air: coloured noise, mains hum, engines, wind, clicks.

Each function returns (frames,) float32 of no particular level; everything is drawn from the generator.
"""

from __future__ import annotations

import numpy as np
import scipy.fft
import scipy.signal

from audiotool.data.augment import envelope
from audiotool.data.clips import Samples
from audiotool.data.synthetic.spectra import harmonics, shaped


def coloured(rng: np.random.Generator, frames: int, sample_rate: int) -> Samples:
    """Return noise whose spectrum slopes by -12 to +3 dB an octave, with broad peaks and a varying level."""
    size = scipy.fft.next_fast_len(max(frames, 2), real=True)
    frequency = np.linspace(0, 1, size // 2 + 1, dtype=np.float32)
    knots = np.sort(rng.random(6))
    bumps = np.interp(frequency, knots, rng.uniform(-6, 6, 6))
    frequency[0] = frequency[1]
    slope = rng.uniform(-12, 3) / 6.02  # exponent of amplitude: 6.02 dB an octave each
    # A steep slope would put all energy below 30 Hz, where it is inaudible.
    floor = 60 / sample_rate
    shape = (np.maximum(frequency, floor) ** slope * 10 ** (bumps / 20)).astype(np.float32)
    return shaped(rng, shape, size)[:frames] * envelope(rng, frames, sample_rate, rng.uniform(0, 9))


def hum(rng: np.random.Generator, frames: int, sample_rate: int) -> Samples:
    """Return mains hum of 50 or 60 Hz or a power supply's whine, with its harmonics and a little hiss."""
    base = rng.choice([50.0, 60.0, 100.0, 120.0, rng.uniform(200, 1500)]) * rng.uniform(0.995, 1.005)
    count = int(min(rng.integers(3, 30), 0.45 * sample_rate // base))
    strengths = np.arange(1, count + 1) ** -rng.uniform(0.5, 2.0) * 10 ** (rng.uniform(-12, 6, count) / 20)
    tone = harmonics(rng, np.full(frames, base / sample_rate), strengths)
    hiss = rng.standard_normal(frames, dtype=np.float32) * np.std(tone) * 10 ** (rng.uniform(-40, -10) / 20)
    return (tone + hiss).astype(np.float32)


def engine(rng: np.random.Generator, frames: int, sample_rate: int) -> Samples:
    """Return harmonics of a varying pitch (motor, fan, drill) in noise that pulses with it."""
    base = np.exp(rng.uniform(np.log(20), np.log(220)))
    drift = envelope(rng, frames, sample_rate, rng.uniform(0.1, 2.5))
    count = int(min(rng.integers(6, 25), 0.45 * sample_rate // (base * drift.max())))
    strengths = np.arange(1, count + 1) ** -rng.uniform(0.3, 1.3) * 10 ** (rng.uniform(-15, 6, count) / 20)
    frequency = base * drift / sample_rate
    comb = harmonics(rng, frequency, strengths)
    pulse = 1 + rng.uniform(0, 0.9) * np.sin(2 * np.pi * np.cumsum(frequency))
    breath = coloured(rng, frames, sample_rate) * pulse
    breath *= np.std(comb) / max(float(np.std(breath)), 1e-9) * 10 ** (rng.uniform(-15, 10) / 20)
    return (comb + breath).astype(np.float32)


def wind(rng: np.random.Generator, frames: int, sample_rate: int) -> Samples:
    """Return low rumble in gusts, as of wind on a microphone's membrane."""
    size = scipy.fft.next_fast_len(frames, real=True)
    frequency = np.linspace(0, sample_rate / 2, size // 2 + 1, dtype=np.float32)
    corner = rng.uniform(60, 400)
    shape = frequency / (20 + frequency) / (1 + (frequency / corner) ** rng.uniform(1.5, 3))
    rumble = shaped(rng, shape.astype(np.float32), size)[:frames]
    slow = envelope(rng, frames, sample_rate, rng.uniform(6, 18))
    # Gusts fluctuate faster: an envelope of noise below 5 Hz.
    rate = max(2, int(frames / sample_rate * 10))
    flutter = np.interp(np.linspace(0, rate - 1, frames), np.arange(rate), rng.gamma(2.0, 0.5, rate))
    return (rumble * slow * flutter).astype(np.float32)


def clicks(rng: np.random.Generator, frames: int, sample_rate: int) -> Samples:
    """Return impulses through random resonances, 1 to 30 a second: keys, knocks, crackle, plates."""
    rate = np.exp(rng.uniform(np.log(1), np.log(30)))
    count = max(1, int(rng.poisson(rate * frames / sample_rate)))
    impulses = np.zeros(frames, np.float32)
    impulses[rng.integers(frames, size=count)] = rng.laplace(size=count)
    length = int(rng.uniform(0.005, 0.15) * sample_rate)
    time = np.arange(length, dtype=np.float32) / sample_rate
    burst = rng.standard_normal(length, dtype=np.float32) * rng.uniform(0.1, 1)
    for _ in range(int(rng.integers(1, 5))):
        burst += np.sin(2 * np.pi * np.exp(rng.uniform(np.log(150), np.log(0.4 * sample_rate))) * time)
    burst *= np.exp(-time * (rng.uniform(3, 8) * sample_rate / length))
    return scipy.signal.oaconvolve(impulses, burst)[:frames].astype(np.float32)
