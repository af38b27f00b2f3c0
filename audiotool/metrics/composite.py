"""The composite measures of Hu and Loizou, and their parts: LLR, WSS and segmental SNR.

Frames of 30 ms under a Hann window, a quarter apart, as in the MATLAB programs of Loizou's book (Speech
Enhancement: Theory and Practice, 2007), at 16 kHz, or at 8 kHz for recordings below 16 kHz. Frames are
analysed a block at a time; only one number a frame is kept. CSIG, CBAK and COVL take the PESQ that `pesq`
reports, wide-band at 16 kHz, as the published results on VoiceBank-DEMAND do.

Reference: Hu and Loizou, Evaluation of objective quality measures for speech enhancement, IEEE TASLP 2008.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from audiotool.metrics.base import Both, Metric, Pair, Unscorable
from audiotool.metrics.pesq import RATES, ByPesq, Pesq, rate_of_band

Rows = NDArray[np.float64]
"""Array (frames, any)."""

FRAMES = 2000
"""Number of frames that are analysed at a time: 15 s."""

TINY = float(np.finfo(np.float64).eps)
"""Added to the samples, so that digital silence has a spectrum."""

KEPT = 0.95
"""Share of the frames that count in LLR and WSS: those with the smallest distances."""

LOWEST_SNR_DB, HIGHEST_SNR_DB = -10.0, 35.0
HIGHEST_LLR = 2.0
"""Bounds of the values of a frame. LLR is unbounded in the composite measures."""

# fmt: off
CENTRES_HZ = (
    50.0, 120.0, 190.0, 260.0, 330.0, 400.0, 470.0, 540.0, 617.372, 703.378, 798.717, 904.128, 1020.38,
    1148.30, 1288.72, 1442.54, 1610.70, 1794.16, 1993.93, 2211.08, 2446.71, 2701.97, 2978.04, 3276.17,
    3597.63,
)
WIDTHS_HZ = (
    70.0, 70.0, 70.0, 70.0, 70.0, 70.0, 70.0, 77.3724, 86.0056, 95.3398, 105.411, 116.256, 127.914,
    140.423, 153.823, 168.154, 183.457, 199.776, 217.153, 235.631, 255.255, 276.072, 298.126, 321.465,
    346.136,
)
# fmt: on
"""Centres and widths of the critical bands of the weighted spectral slope."""

LOWEST_DB = -100.0
"""Lowest level of a critical band."""

PEAK_WEIGHT, LOCAL_PEAK_WEIGHT = 20.0, 1.0
"""Klatt's constants: weights of bands below the highest peak and below the nearest peak."""


class SegmentalSnr(Metric):
    """Mean of the frames' signal-to-noise ratios, each held between -10 and 35 dB."""

    name = "seg_snr"
    unit = "dB"
    rates = RATES

    def measure(self, pair: Pair) -> float:
        return float(np.mean(_of_frames(pair, "seg_snr", _snr_db)))


class LogLikelihoodRatio(Metric):
    """Distance of the all-pole spectra, each frame 2 at most, mean of the best 95 % of the frames."""

    name = "llr"
    higher_is_better = False
    has_narrow_band = True
    rates = RATES

    def measure(self, pair: Pair) -> float:
        return _log_likelihood(pair, HIGHEST_LLR)


class WeightedSpectralSlope(Metric):
    """Klatt's distance of the slopes between critical bands, mean of the best 95 % of the frames."""

    name = "wss"
    higher_is_better = False
    has_narrow_band = True
    rates = RATES

    def measure(self, pair: Pair) -> float:
        return _slope(pair)


class _Composite(ByPesq):
    family = "composite"
    has_narrow_band = True


class SignalQuality(_Composite):
    """CSIG: predicted rating of the speech's distortion, 1 to 5; 5 is undistorted."""

    name = "csig"

    def measure(self, pair: Pair) -> float:
        return _on_scale(
            3.093 + 0.603 * pair.measured(Pesq) - 1.029 * _log_likelihood(pair) - 0.009 * _slope(pair)
        )


class BackgroundQuality(_Composite):
    """CBAK: predicted rating of the background's intrusiveness, 1 to 5; 5 is not noticeable."""

    name = "cbak"

    def measure(self, pair: Pair) -> float:
        snr = pair.measured(SegmentalSnr)
        return _on_scale(1.634 + 0.478 * pair.measured(Pesq) - 0.007 * _slope(pair) + 0.063 * snr)


class OverallQuality(_Composite):
    """COVL: predicted rating of the overall quality, 1 to 5."""

    name = "covl"

    def measure(self, pair: Pair) -> float:
        return _on_scale(
            1.594 + 0.805 * pair.measured(Pesq) - 0.512 * _log_likelihood(pair) - 0.007 * _slope(pair)
        )


def _log_likelihood(pair: Pair, highest: float = np.inf) -> float:
    """Return the mean LLR of the best 95 % of the frames, each `highest` at most."""
    return _trimmed_mean(np.minimum(_of_frames(pair, "llr", _log_likelihood_ratio), highest))


def _slope(pair: Pair) -> float:
    """Return the mean WSS of the best 95 % of the frames."""
    return _trimmed_mean(_of_frames(pair, "wss", _spectral_slope))


def _on_scale(score: float) -> float:
    return min(max(score, 1.0), 5.0)


def _trimmed_mean(distances: Rows) -> float:
    """Return the mean of the share `KEPT` of distances that are smallest."""
    # MATLAB's `round`, by which the original programs count, takes halves up; Python's takes them to even.
    kept = math.floor(len(distances) * KEPT + 0.5)
    return float(np.mean(np.sort(distances)[:kept]))


def _of_frames(pair: Pair, name: str, measure: Callable[[Rows, Rows, int], Rows]) -> Rows:
    """Return a number for each frame of a pair, measured once: `measure` of (frames, samples) of both sides
    and the rate in Hz."""

    def measured() -> Rows:
        pair.require_sound()
        rate = rate_of_band(pair)
        parts = [measure(reference, estimate, rate) for reference, estimate in _frames(pair, rate)]
        if not parts:
            raise Unscorable("too short for one frame")
        return np.concatenate(parts)

    return pair.results.of(f"{name} of frames", measured)


def _frames(pair: Pair, sample_rate: int) -> Iterator[Both]:
    """Yield windowed frames (frames, samples) of both sides, `FRAMES` at most.

    The last frame that fits is left out, as in the original programs.
    """
    length = round(0.03 * sample_rate)
    hop = length // 4
    window = np.hanning(length + 2)[1:-1]
    held = Both(np.zeros(0), np.zeros(0))
    for block in pair.blocks(sample_rate):
        held = Both(*(np.concatenate(sides) for sides in zip(held, block, strict=True)))
        count = (len(held.reference) - length) // hop
        for first in range(0, count, FRAMES):
            last = min(first + FRAMES, count)
            end = (last - 1) * hop + length
            yield Both(*(sliding_window_view(w[first * hop : end], length)[::hop] * window for w in held))
        held = Both(*(w[max(count, 0) * hop :] for w in held))


def _snr_db(reference: Rows, estimate: Rows, sample_rate: int) -> Rows:
    signal = np.square(reference).sum(axis=1)
    noise = np.square(reference - estimate).sum(axis=1)
    ratio: Rows = 10 * np.log10(signal / (noise + TINY) + TINY)
    return np.clip(ratio, LOWEST_SNR_DB, HIGHEST_SNR_DB)


def _log_likelihood_ratio(reference: Rows, estimate: Rows, sample_rate: int) -> Rows:
    """Return ln of the ratio of the reference's prediction errors, by the estimate's predictor and by its
    own."""
    order = 10 if sample_rate < 10000 else 16
    window = np.hanning(reference.shape[1] + 2)[1:-1]
    lags, predictor = _linear_prediction(reference + TINY * window, order)
    _, other = _linear_prediction(estimate + TINY * window, order)
    index = np.arange(order + 1)
    toeplitz = lags[:, np.abs(index[:, None] - index)]

    def error(coefficients: Rows) -> Rows:
        return np.einsum("fi,fij,fj->f", coefficients, toeplitz, coefficients)

    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = error(other) / error(predictor)
    ratio[np.isnan(ratio)] = np.inf
    ratio[ratio <= 0] = 1000.0
    logarithm: Rows = np.log(ratio)
    return logarithm


def _linear_prediction(frames: Rows, order: int) -> tuple[Rows, Rows]:
    """Return autocorrelations and prediction error filters, (frames, order + 1), by Levinson's recursion."""
    length = frames.shape[1]
    lags = np.stack(
        [np.einsum("ft,ft->f", frames[:, : length - k], frames[:, k:]) for k in range(order + 1)], axis=1
    )
    predictor = np.zeros_like(lags)
    predictor[:, 0] = 1.0
    energy = lags[:, 0].copy()
    with np.errstate(divide="ignore", invalid="ignore"):
        for n in range(1, order + 1):
            reflection = -np.einsum("fi,fi->f", predictor[:, :n], lags[:, n:0:-1]) / energy
            predictor[:, 1 : n + 1] += reflection[:, None] * predictor[:, n - 1 :: -1][:, :n]
            energy *= 1 - reflection**2
    return lags, predictor


def _spectral_slope(reference: Rows, estimate: Rows, sample_rate: int) -> Rows:
    bank = _critical_bands(reference.shape[1], sample_rate)
    window = np.hanning(reference.shape[1] + 2)[1:-1]
    slopes, weights = [], []
    for frames in (reference, estimate):
        spec = np.fft.rfft(frames + TINY * window, 2 * len(bank), axis=1)[:, :-1]
        energy = np.square(spec.real) + np.square(spec.imag)
        with np.errstate(divide="ignore"):
            level = np.maximum(10 * np.log10(energy @ bank), LOWEST_DB)
        slopes.append(np.diff(level, axis=1))
        below_peak = level.max(axis=1, keepdims=True) - level[:, :-1]
        below_local_peak = _nearest_peaks(level, slopes[-1]) - level[:, :-1]
        weights.append(
            PEAK_WEIGHT
            / (PEAK_WEIGHT + below_peak)
            * LOCAL_PEAK_WEIGHT
            / (LOCAL_PEAK_WEIGHT + below_local_peak)
        )
    weight = weights[0] + weights[1]
    distance: Rows = (weight * np.square(slopes[0] - slopes[1])).sum(axis=1) / weight.sum(axis=1)
    return distance


def _nearest_peaks(level: Rows, slope: Rows) -> Rows:
    """Return the level of the nearest peak of each band but the last, as the original programs define it.

    From a band with a rising slope the search goes up to the last band that rises; from another one it goes
    down to the band after the last that rises.
    """
    climbs, bands = slope > 0, slope.shape[1]
    above, below = level[:, :-1].copy(), level[:, :-1].copy()
    for n in range(bands - 2, -1, -1):
        above[:, n] = np.where(climbs[:, n + 1], above[:, n + 1], level[:, n])
    for n in range(1, bands):
        below[:, n] = np.where(climbs[:, n - 1], level[:, n], below[:, n - 1])
    return np.where(climbs, above, below)


def _critical_bands(length: int, sample_rate: int) -> Rows:
    """Return weights (bins, bands): Gaussians of equal area, zero from 30 dB below their peaks."""
    bins = 1 << int(np.ceil(np.log2(2 * length))) - 1
    scale = bins / (sample_rate / 2)
    centres, widths = np.floor(np.array(CENTRES_HZ) * scale), np.array(WIDTHS_HZ)
    distance = (np.arange(bins)[:, None] - centres) / (widths * scale)
    bells = np.exp(-11 * distance**2 + np.log(widths[0] / widths))
    bands: Rows = bells * (bells > np.exp(-30 / (2 * 2.303)))
    return bands
