"""Short-time objective intelligibility, by pystoi.

The published measure keeps every segment of a recording in memory. So a recording of more than two minutes is
cut into equal windows of at most two minutes, and the windows in which the reference has speech are averaged.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from audiotool.metrics.base import Metric, NothingToMeasure, Pair, Unscorable, Waveform, is_silent

WINDOW_S = 120
SHORTEST_S = 0.4
"""Thirty frames at 10 kHz, the shortest segment the measure is defined on."""


class Stoi(Metric):
    """STOI, 0 to 1. Reference: Taal et al., IEEE TASLP 2011."""

    name = "stoi"
    needs = ("pystoi",)

    def measure(self, pair: Pair) -> float:
        pair.require_sound()
        if pair.length() < SHORTEST_S * pair.sample_rate:
            raise Unscorable(f"shorter than STOI's {SHORTEST_S} s")
        scores = []
        for _, signals in pair.windows(pair.sample_rate, WINDOW_S * pair.sample_rate):
            if is_silent(signals.reference):
                continue
            score = self._score(*signals, pair.sample_rate)
            if score is not None:
                scores.append(score)
        if not scores:
            raise NothingToMeasure(f"the reference holds less than {SHORTEST_S} s of sound")
        return float(np.mean(scores))

    def _score(self, reference: Waveform, estimate: Waveform, sample_rate: int) -> float | None:
        """Return the score of a window; None if the reference has too few frames that are not silent."""
        from pystoi.stoi import DYN_RANGE, FS, N_FRAME, N
        from pystoi.utils import remove_silent_frames, resample_oct

        hop = N_FRAME // 2
        if sample_rate != FS:
            reference, estimate = (resample_oct(w, FS, sample_rate) for w in (reference, estimate))
        kept = remove_silent_frames(reference, estimate, DYN_RANGE, N_FRAME, hop)
        # Counted here: pystoi warns, and returns 1e-5, which a score could be.
        if len(range(0, len(kept[0]) - N_FRAME, hop)) < N:
            return None
        return self._of_frames(reference, estimate, kept)

    def _of_frames(self, reference: Waveform, estimate: Waveform, kept: tuple[Waveform, Waveform]) -> float:
        """Return the score of a window at pystoi's rate.

        Args:
            kept: reference and estimate without the frames in which the reference is silent.
        """
        import pystoi
        from pystoi.stoi import FS

        return float(pystoi.stoi(reference, estimate, FS))


class ExtendedStoi(Stoi):
    """Extended STOI, for fluctuating maskers. Reference: Jensen and Taal, IEEE/ACM TASLP 2016.

    pystoi draws noise from numpy's global generator, which is the caller's. So its parts are joined here,
    with a generator of this score: the same signals have the same score.
    """

    name = "estoi"

    def _of_frames(self, reference: Waveform, estimate: Waveform, kept: tuple[Waveform, Waveform]) -> float:
        generator = np.random.default_rng(0)
        x, y = (_normalized(_segments(signal), generator) for signal in kept)
        return float(np.sum(x * y)) / (x.shape[0] * x.shape[-1])


def _segments(signal: Waveform) -> Waveform:
    """Return the magnitudes in third-octave bands of every thirty frames, (segments, bands, 30)."""
    from pystoi.stoi import N_FRAME, NFFT, OBM, N
    from pystoi.utils import stft

    power = np.square(np.abs(stft(signal, N_FRAME, NFFT, overlap=2)))
    return np.lib.stride_tricks.sliding_window_view(np.sqrt(power @ OBM.T), N, axis=0)


def _normalized(segments: Waveform, generator: Generator) -> Waveform:
    """Return segments whose bands, and then frames, have mean 0 and norm 1; the noise avoids a norm of 0."""
    from pystoi.utils import EPS

    for axis in (2, 1):
        segments = segments + EPS * generator.standard_normal(segments.shape)
        segments -= segments.mean(axis, keepdims=True)
        segments /= np.linalg.norm(segments, axis=axis, keepdims=True)
    return segments
