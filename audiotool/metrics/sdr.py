"""Ratios of signal to error in decibels, and the best permutation of stems.

Values are clipped to ±`LIMIT_DB`, since an estimate that equals its reference has no finite ratio.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from audiotool.metrics.base import Both, Metric, Pair, Unscorable, Waveform, is_silent

LIMIT_DB = 100.0


class SiSdr(Metric):
    """Scale-invariant signal-to-distortion ratio, means removed.

    With α = <ŝ, s> / |s|²: 10 log10(|α s|² / |ŝ - α s|²). Reference: Le Roux et al., SDR – half-baked or well
    done?, ICASSP 2019, arXiv:1811.02508.
    """

    name = "si_sdr"
    unit = "dB"

    def measure(self, pair: Pair) -> float:
        pair.require_sound(estimate=True)
        means = pair.facts[0].mean, pair.facts[1].mean
        return _si_sdr_db(lambda: (Both(r - means[0], e - means[1]) for r, e in pair.blocks()))


class Sdr(Metric):
    """Signal-to-distortion ratio of BSS-eval, which allows a 512-tap filter between reference and estimate.

    Reference: Vincent et al., Performance measurement in blind audio source separation, IEEE TASLP 2006;
    computed by torchmetrics.
    """

    name = "sdr"
    unit = "dB"
    needs = ("torchmetrics",)

    def measure(self, pair: Pair) -> float:
        self.check()
        import torch
        from torchmetrics.functional.audio import signal_distortion_ratio

        pair.require_sound(estimate=True)
        reference, estimate = (torch.from_numpy(w).double() for w in (pair.reference, pair.estimate))
        ratio = float(signal_distortion_ratio(estimate, reference, filter_length=512))
        if math.isnan(ratio):
            # Rounding has put the coherence above 1 or below 0. A load on the diagonal makes the system
            # positive definite, so that none is below 0; a perfect estimate still reaches LIMIT_DB.
            load = 10 ** (-LIMIT_DB / 10)
            ratio = float(signal_distortion_ratio(estimate, reference, filter_length=512, load_diag=load))
            ratio = LIMIT_DB if math.isnan(ratio) else ratio
        return min(max(ratio, -LIMIT_DB), LIMIT_DB)


class Snr(Metric):
    """Signal-to-noise ratio, 10 log10(|s|² / |ŝ - s|²), which depends on the level.

    Music separation has called it SDR since 2021.
    """

    name = "snr"
    unit = "dB"

    def measure(self, pair: Pair) -> float:
        pair.require_sound()
        power = error = 0.0
        for reference, estimate in pair.blocks():
            power += float(np.dot(reference, reference))
            error += float(np.dot(estimate - reference, estimate - reference))
        return _power_ratio_db(power, error)


class SiSir(Metric):
    """Scale-invariant ratio of the target to the interference of the other sources.

    The target is the projection of the estimate on the reference. The interference is the projection on all
    sources minus the target. The rest of the estimate is artefacts. As power ratios, 1/SDR = 1/SIR + 1/SAR.
    Reference: as `SiSdr`.
    """

    name = "si_sir"
    unit = "dB"
    uses_interferers = True

    def measure(self, pair: Pair) -> float:
        target, interference, _ = _parts(pair)
        return _ratio_db(target, interference)


class SiSar(Metric):
    """Scale-invariant ratio of the target to the artefacts, which belong to no source; see `SiSir`."""

    name = "si_sar"
    unit = "dB"
    uses_interferers = True

    def measure(self, pair: Pair) -> float:
        target, _, artefacts = _parts(pair)
        return _ratio_db(target, artefacts)


def _parts(pair: Pair) -> tuple[Waveform, Waveform, Waveform]:
    """Return the target, interference and artefacts of the estimate, which add up to it."""
    pair.require_sound(estimate=True)
    if not pair.interferers:
        raise Unscorable("the other sources are not known: give --noisy, or score all stems of a mixture")
    if not all(np.isfinite(w).all() for w in pair.interferers):
        raise Unscorable("an interferer holds samples that are not finite")
    others = [w for w in pair.interferers if not is_silent(w)]
    sources = np.stack([w - w.mean() for w in (pair.reference, *others)])
    estimate = pair.estimate - pair.estimate.mean()
    weights = np.linalg.lstsq(sources @ sources.T, sources @ estimate, rcond=None)[0]
    own = sources[0]
    target = np.dot(estimate, own) / np.dot(own, own) * own
    explained = weights @ sources
    return target, explained - target, estimate - explained


def si_sdr(reference: Waveform, estimate: Waveform) -> float:
    """Return the SI-SDR in dB of two waveforms (time,); see `SiSdr`."""
    both = Both(reference - reference.mean(), estimate - estimate.mean())
    return _si_sdr_db(lambda: iter([both]))


def best_permutation(references: Waveform, estimates: Waveform) -> tuple[int, ...]:
    """Return the order of the estimates that has the highest mean SI-SDR.

    Args:
        references, estimates: (stems, time) with the same number of stems.
    Returns:
        For each reference, the index of its estimate.
    """
    ratios = [[si_sdr(reference, estimate) for estimate in estimates] for reference in references]
    return tuple(estimate for _, estimate in best_assignment(np.array(ratios)))


def best_assignment(ratios: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Return the rows and columns, each once, whose ratios have the greatest sum.

    Args:
        ratios: (rows, columns); where there are more of one than of the other, the worst are left out.
            NaN counts as the lowest SI-SDR.
    Returns:
        Pairs of a row and its column, in the order of the rows. Time grows with the third power of their
        number. Reference: Kuhn, The Hungarian method for the assignment problem, 1955, by shortest paths as
        in Jonker, Volgenant, 1987.
    """
    if len(ratios) > len(ratios.T):
        return sorted((row, column) for column, row in best_assignment(ratios.T))
    rows, columns = ratios.shape
    costs = np.nan_to_num(-ratios, nan=LIMIT_DB)
    row_costs, column_costs = np.zeros(rows), np.zeros(columns)
    row_of = np.full(columns, -1)
    for first in range(rows):
        # The shortest path from this row to a free column, over columns that give up their row.
        distance, before = np.full(columns, np.inf), np.full(columns, -1)
        seen = np.zeros(columns, bool)
        row, column = first, -1
        while row >= 0:
            found = costs[row] - row_costs[row] - column_costs
            is_nearer = ~seen & (found < distance)
            distance[is_nearer], before[is_nearer] = found[is_nearer], column
            column = int(np.argmin(np.where(seen, np.inf, distance)))
            step = distance[column]
            row_costs[[first, *row_of[seen]]] += step
            column_costs[seen] -= step
            distance[~seen] -= step
            seen[column] = True
            row = int(row_of[column])
        while column >= 0:
            previous = int(before[column])
            row_of[column] = row_of[previous] if previous >= 0 else first
            column = previous
    return sorted((int(row), column) for column, row in enumerate(row_of) if row >= 0)


def _si_sdr_db(blocks: Callable[[], Iterator[Both]]) -> float:
    """Return SI-SDR in dB of a pair without means, whose blocks are read twice."""
    power = product = 0.0
    for reference, estimate in blocks():
        power += float(np.dot(reference, reference))
        product += float(np.dot(estimate, reference))
    scale = product / max(power, 1e-300)
    error = 0.0
    for reference, estimate in blocks():
        distortion = estimate - scale * reference
        error += float(np.dot(distortion, distortion))
    return _power_ratio_db(scale**2 * power, error)


def _ratio_db(signal: Waveform, error: Waveform) -> float:
    return _power_ratio_db(float(np.dot(signal, signal)), float(np.dot(error, error)))


def _power_ratio_db(power: float, error_power: float) -> float:
    if power <= 0 or error_power <= 0:
        return LIMIT_DB if power > 0 else -LIMIT_DB
    return min(max(10 * float(np.log10(power / error_power)), -LIMIT_DB), LIMIT_DB)
