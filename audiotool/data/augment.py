"""Augmentation: effects of microphones, lines and codecs. All random numbers come from the generator
argument."""

from __future__ import annotations

from math import ceil

import numpy as np
import scipy.fft
import scipy.signal
import soxr
from numpy.typing import NDArray

from audiotool.data.clips import Samples
from audiotool.data.config import AugmentationConfig
from audiotool.data.levels import amplitude

Sections = NDArray[np.float64]
"""(sections, 6) second-order sections as scipy.signal has them."""

WIDEST = 0.48  # of the sample rate: what reaches further is not band-limited
SPEED_STEP = 0.01  # speeds come in steps, so that resampling ratios stay simple
FORMANT_WINDOW_SECONDS = 0.032
FORMANT_QUEFRENCY_SECONDS = 0.003  # where the envelope ends: the period of a high voice
FORMANT_FLOOR = 1e-3  # of a frame's largest magnitude: what lies lower is no resonance
FORMANT_LARGEST_DB = 20.0


def chance(rng: np.random.Generator, probability: float) -> bool:
    """Return True with a probability. One number is always drawn, so that options do not change each other's
    numbers."""
    return bool(rng.random() < probability)


def sometimes(rng: np.random.Generator, probability: float) -> bool:
    """As `chance`, but at 0 no number is drawn: recipes of before an option keep their examples."""
    return probability > 0 and chance(rng, probability)


def draw_speed(rng: np.random.Generator, span: tuple[float, float]) -> float:
    """Draw a speed factor from a range, in steps of 0.01."""
    return round(rng.uniform(*span) / SPEED_STEP) * SPEED_STEP


def source_frames(frames: int, speed: float) -> int:
    """Return how many samples `change_speed` needs to return `frames`."""
    return frames if speed == 1 else ceil(frames * speed) + 16


def change_speed(waveform: Samples, speed: float, frames: int) -> Samples:
    """Resample `source_frames(frames, speed)` samples to play `speed` times as fast; pitch and formants
    change too. At speed 1 they stay as they are."""
    if speed == 1:
        return waveform
    resampled = soxr.resample(waveform, round(100 * speed), 100, quality="HQ")[:frames]
    return resampled if len(resampled) == frames else np.pad(resampled, (0, frames - len(resampled)))


def change_formants(waveform: Samples, factor: float, sample_rate: int) -> Samples:
    """Multiply the formant frequencies of a voice by a factor and keep its pitch and tempo: another vocal
    tract.

    The spectral envelope of each frame is the smooth part of its logarithm (its cepstrum below the period of
    most voices); the frame is weighted by the ratio of the envelope read at `f / factor` to the one at `f`.
    Phases are kept. Reference: Röbel and Rodet, Efficient Spectral Envelope Estimation and its Application to
    Pitch Shifting and Envelope Preservation, DAFx 2005. Their true envelope iterates the estimate used here.

    Args:
        waveform: (time,), at `sample_rate` Hz.
        factor: of the formant frequencies; above 1 is a shorter vocal tract.
    Returns:
        (time,), of the same length.
    """
    window, n_fft = "hann", 2 ** round(np.log2(FORMANT_WINDOW_SECONDS * sample_rate))
    # A waveform shorter than a window is as one that is silent afterwards.
    padded = np.pad(waveform, (0, max(0, n_fft - len(waveform))))
    _, _, spectrum = scipy.signal.stft(padded, window=window, nperseg=n_fft, noverlap=3 * n_fft // 4)
    magnitude = np.abs(spectrum.T)
    floor = FORMANT_FLOOR * magnitude.max(axis=1, keepdims=True) + 1e-8
    cepstrum = scipy.fft.irfft(np.log(magnitude + floor), axis=1)
    order = round(FORMANT_QUEFRENCY_SECONDS * sample_rate)
    lifter = np.zeros(n_fft, np.float32)
    # The lifter is 1 up to half of its length, so that the envelope follows narrow resonances.
    lifter[:order] = np.cos(np.pi / 2 * np.clip(2 * np.arange(order) / order - 1, 0, 1)) ** 2
    lifter[1:] += lifter[:0:-1]
    envelope = scipy.fft.rfft(cepstrum * lifter, axis=1).real
    bins = np.minimum(np.arange(n_fft // 2 + 1) / factor, n_fft // 2)
    below = np.minimum(bins.astype(int), n_fft // 2 - 1)
    part = (bins - below).astype(np.float32)
    moved = envelope[:, below] * (1 - part) + envelope[:, below + 1] * part
    reach = np.log(amplitude(FORMANT_LARGEST_DB))
    spectrum *= np.exp(np.clip(moved - envelope, -reach, reach)).T
    _, changed = scipy.signal.istft(spectrum, window=window, nperseg=n_fft, noverlap=3 * n_fft // 4)
    return changed[: len(waveform)].astype(np.float32, copy=False)


def equaliser(rng: np.random.Generator, sample_rate: int, largest_db: float) -> Sections:
    """Return a low shelf, a bell and a high shelf of random gain, as of another microphone, voice or room.

    Reference: R. Bristow-Johnson, Cookbook formulae for audio equalizer biquad filter coefficients.
    """
    low, high = np.exp(rng.uniform(np.log([80, 1500]), np.log([500, min(6000, 0.4 * sample_rate)])))
    centre = np.exp(rng.uniform(np.log(200), np.log(min(5000, 0.4 * sample_rate))))
    low_db, bell_db, high_db = rng.uniform(-largest_db, largest_db, 3)
    width = rng.uniform(0.5, 2.0)
    return np.stack(
        [
            _shelf(low, low_db, sample_rate, sign=1.0),
            _bell(centre, bell_db, width, sample_rate),
            _shelf(high, high_db, sample_rate, sign=-1.0),
        ]
    )


def _shelf(frequency: float, gain_db: float, sample_rate: int, sign: float) -> NDArray[np.float64]:
    """Return the biquad of a low shelf (sign 1) or a high shelf (sign -1)."""
    a = 10 ** (gain_db / 40)
    w = 2 * np.pi * frequency / sample_rate
    c, slope = sign * np.cos(w), np.sin(w) / np.sqrt(2) * 2 * np.sqrt(a)
    b0 = a * ((a + 1) - (a - 1) * c + slope)
    b1 = 2 * a * ((a - 1) - (a + 1) * c)
    b2 = a * ((a + 1) - (a - 1) * c - slope)
    a0 = (a + 1) + (a - 1) * c + slope
    a1 = -2 * ((a - 1) + (a + 1) * c)
    a2 = (a + 1) + (a - 1) * c - slope
    return np.array([b0, sign * b1, b2, a0, sign * a1, a2]) / a0


def _bell(frequency: float, gain_db: float, q: float, sample_rate: int) -> NDArray[np.float64]:
    a = 10 ** (gain_db / 40)
    w = 2 * np.pi * frequency / sample_rate
    alpha, c = np.sin(w) / (2 * q), np.cos(w)
    a0 = 1 + alpha / a
    return np.array([1 + alpha * a, -2 * c, 1 - alpha * a, a0, -2 * c, 1 - alpha / a]) / a0


def band_limit(rng: np.random.Generator, sample_rate: int, config: AugmentationConfig) -> Sections:
    """Return a low-pass and a high-pass of random order and cutoff."""
    edge = min(rng.uniform(*config.low_pass_hz), WIDEST * sample_rate)
    low = scipy.signal.butter(int(rng.integers(2, 5)) * 2, edge, "low", fs=sample_rate, output="sos")
    high = scipy.signal.butter(2, rng.uniform(*config.high_pass_hz), "high", fs=sample_rate, output="sos")
    return np.concatenate([low, high])


def low_pass(edge_hz: float, sample_rate: int) -> Sections:
    """Return a steep low-pass, as of a coder or a resampler: 40 dB down at 1.2 times its edge."""
    return scipy.signal.cheby2(10, 40, min(1.2 * edge_hz, 0.49 * sample_rate), fs=sample_rate, output="sos")


def filtered(waveform: Samples, sections: Sections) -> Samples:
    """Filter along the last axis; in single precision where scipy supports it."""
    return scipy.signal.sosfilt(sections.astype(np.float32), waveform, axis=-1).astype(np.float32, copy=False)


def clip(rng: np.random.Generator, waveform: Samples, over_db: tuple[float, float]) -> Samples:
    """Clip the peaks at `over_db` below the largest: hard, so that smaller samples stay, or soft, by a
    hyperbolic tangent, which bends those near the limit too."""
    peak = float(np.abs(waveform).max())
    limit = peak * amplitude(-rng.uniform(*over_db))
    soft = chance(rng, 0.5)
    if limit <= 0:
        return waveform
    return limit * np.tanh(waveform / limit) if soft else np.clip(waveform, -limit, limit)


def codec(rng: np.random.Generator, waveform: Samples, sample_rate: int) -> Samples:
    """Code coarsely: logarithmic samples of at most 8 bits (telephone), or a transform codec with few
    bits."""
    if chance(rng, 0.4):
        return _logarithmic(waveform, bits=int(rng.integers(5, 9)))
    return _transform_coded(
        waveform, sample_rate, masking_db=rng.uniform(8, 20), bandwidth=rng.uniform(0.5, 1.0)
    )


def _logarithmic(waveform: Samples, bits: int) -> Samples:
    """Quantise by mu-law companding (ITU-T G.711, mu = 255) with `bits` bits, scaled to the waveform's
    peak."""
    peak = max(float(np.abs(waveform).max()), 1e-9)
    levels = 2 ** (bits - 1) - 1
    coded = np.round(np.log1p(255 / peak * np.abs(waveform)) * (levels / np.log(256.0))) * (
        np.log(256.0) / levels
    )
    return np.copysign(np.expm1(coded) * (peak / 255), waveform).astype(np.float32)


def _transform_coded(waveform: Samples, sample_rate: int, masking_db: float, bandwidth: float) -> Samples:
    """Quantise the spectrum of 32 ms frames, with noise masking_db / 2 + 5 dB under each band, and drop the
    top."""
    hop = int(0.016 * sample_rate)
    count = ceil(len(waveform) / hop) + 1
    padded = np.zeros((count + 1) * hop, np.float32)
    padded[hop : hop + len(waveform)] = waveform
    window = np.sin(np.pi * (np.arange(2 * hop, dtype=np.float32) + 0.5) / (2 * hop))
    frames = np.lib.stride_tricks.sliding_window_view(padded, 2 * hop)[::hop] * window
    spectrum = scipy.fft.rfft(frames, axis=-1)
    bins = spectrum.shape[1]
    starts = np.append(0, np.unique(np.geomspace(4, bins, 20).astype(int)[:-1]))
    widths = np.diff(starts, append=bins)
    power = np.add.reduceat(np.square(np.abs(spectrum)), starts, axis=1) / widths
    step = np.sqrt(power) * (2 * amplitude(-masking_db / 2)) + 1e-9
    step = np.repeat(step, widths, axis=1)
    coded = (np.round(spectrum.real / step) + 1j * np.round(spectrum.imag / step)) * step
    coded[:, int(bandwidth * bins) :] = 0
    out = scipy.fft.irfft(coded, 2 * hop, axis=-1).astype(np.float32) * window
    added = np.zeros_like(padded)
    added[: count * hop] = out[:, :hop].reshape(-1)
    added[hop:] += out[:, hop:].reshape(-1)
    return added[hop : hop + len(waveform)]


def packet_loss(
    rng: np.random.Generator, waveform: Samples, sample_rate: int, gap_ms: tuple[float, float]
) -> Samples:
    """Set 1 to 3 gaps a second to zero, with fades of 1 ms at their edges."""
    gains = np.ones(len(waveform), np.float32)
    seconds = len(waveform) / sample_rate
    for _ in range(max(1, round(seconds * rng.uniform(1, 3)))):
        length = int(rng.uniform(*gap_ms) * 1e-3 * sample_rate)
        start = int(rng.integers(max(1, len(waveform) - length)))
        edge = min(int(1e-3 * sample_rate), length // 2)
        shape = np.zeros(len(gains[start : start + length]), np.float32)
        ramp = np.linspace(1, 0, edge, dtype=np.float32)[: len(shape)]
        shape[: len(ramp)] = ramp
        shape[len(shape) - len(ramp) :] = np.maximum(shape[len(shape) - len(ramp) :], ramp[::-1])
        gains[start : start + length] *= shape
    return waveform * gains


def envelope(rng: np.random.Generator, frames: int, sample_rate: int, reach_db: float) -> Samples:
    """Return gains (frames,) that vary between -reach_db and +reach_db, with a new value about every
    second."""
    knots = max(2, round(frames / sample_rate * rng.uniform(0.7, 2.0)) + 1)
    gains = 10 ** (rng.uniform(-reach_db, reach_db, knots) / 20)
    return np.interp(np.linspace(0, knots - 1, frames), np.arange(knots), gains).astype(np.float32)


def rise(length: int, begin: int, edge: int) -> Samples:
    """Return gains (length,): 0 before `begin`, 1 from `edge` samples later on."""
    return np.clip((np.arange(length) - begin) / max(edge, 1), 0, 1).astype(np.float32)


def fades(length: int, edge: int) -> Samples:
    """Return gains (length,): 1, rising from 0 and falling to 0 over `edge` samples."""
    edge = min(edge, length // 2)
    gains = np.ones(length, np.float32)
    if edge:
        ramp = np.linspace(0, 1, edge, endpoint=False, dtype=np.float32)
        gains[:edge], gains[length - edge :] = ramp, ramp[::-1]
    return gains
