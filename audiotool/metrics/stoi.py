"""Short-time objective intelligibility, by pystoi.

The published measure keeps every segment of a recording in memory. So a recording of more than two minutes is
cut into equal windows of at most two minutes, and the windows in which the reference has speech are averaged.
"""

from __future__ import annotations

import warnings

import numpy as np

from audiotool.metrics.base import Metric, NothingToMeasure, Pair, Unscorable, is_silent

WINDOW_S = 120
SHORTEST_S = 0.4
"""Thirty frames at 10 kHz, the shortest segment the measure is defined on."""


class Stoi(Metric):
    """STOI, 0 to 1. Reference: Taal et al., IEEE TASLP 2011."""

    name = "stoi"
    extended = False
    needs = ("pystoi",)

    def measure(self, pair: Pair) -> float:
        import pystoi

        pair.require_sound()
        if pair.length() < SHORTEST_S * pair.sample_rate:
            raise Unscorable(f"shorter than STOI's {SHORTEST_S} s")
        scores = []
        for _, (reference, estimate) in pair.windows(pair.sample_rate, WINDOW_S * pair.sample_rate):
            if is_silent(reference):
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("error", RuntimeWarning)
                try:
                    scores.append(float(pystoi.stoi(reference, estimate, pair.sample_rate, self.extended)))
                except RuntimeWarning:
                    continue  # pystoi warns, and returns 1e-5, when too few frames are left
        if not scores:
            raise NothingToMeasure(f"the reference holds less than {SHORTEST_S} s of sound")
        return float(np.mean(scores))


class ExtendedStoi(Stoi):
    """Extended STOI, for fluctuating maskers. Reference: Jensen and Taal, IEEE/ACM TASLP 2016."""

    name = "estoi"
    extended = True
