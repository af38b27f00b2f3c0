"""Ratios of signal to error in decibels, and the order of stems that has the best of them.

Values are held within ±`LIMIT_DB`: an estimate equal to its reference has no finite ratio.
"""

from __future__ import annotations

import itertools

import numpy as np

from audiotool.metrics.base import Metric, Pair, Unscorable, Waveform, is_silent

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
        return si_sdr(pair.reference, pair.estimate)


class Sdr(Metric):
    """Signal-to-distortion ratio of BSS-eval: a 512-tap filter between reference and estimate is forgiven.

    Reference: Vincent et al., Performance measurement in blind audio source separation, IEEE TASLP 2006;
    computed by torchmetrics.
    """

    name = "sdr"
    unit = "dB"

    def measure(self, pair: Pair) -> float:
        import torch
        from torchmetrics.functional.audio import signal_distortion_ratio

        pair.require_sound(estimate=True)
        reference, estimate = (torch.from_numpy(w).double() for w in (pair.reference, pair.estimate))
        ratio = float(signal_distortion_ratio(estimate, reference, filter_length=512))
        return min(max(ratio, -LIMIT_DB), LIMIT_DB)


class Snr(Metric):
    """Signal-to-noise ratio, 10 log10(|s|² / |ŝ - s|²): level counts. Music separation's SDR since 2021."""

    name = "snr"
    unit = "dB"

    def measure(self, pair: Pair) -> float:
        pair.require_sound()
        return _ratio_db(pair.reference, pair.estimate - pair.reference)


class SiSir(Metric):
    """Scale-invariant signal-to-interference ratio: how much of the other sources is left.

    The estimate is projected on the reference (the target) and on all sources together; their difference is
    interference, the rest artefacts. Le Roux et al., as `SiSdr`: of powers, 1/SDR = 1/SIR + 1/SAR.
    """

    name = "si_sir"
    unit = "dB"
    uses_interferers = True

    def measure(self, pair: Pair) -> float:
        target, interference, _ = _parts(pair)
        return _ratio_db(target, interference)


class SiSar(Metric):
    """Scale-invariant signal-to-artefact ratio: how much is left that is of no source; see `SiSir`."""

    name = "si_sar"
    unit = "dB"
    uses_interferers = True

    def measure(self, pair: Pair) -> float:
        target, _, artefacts = _parts(pair)
        return _ratio_db(target, artefacts)


def _parts(pair: Pair) -> tuple[Waveform, Waveform, Waveform]:
    """The estimate as target, interference and artefacts, which add up to it."""
    pair.require_sound(estimate=True)
    if not pair.interferers:
        raise Unscorable("the other sources are not known: give --noisy, or score all stems of a mixture")
    others = [w for w in pair.interferers if not is_silent(w)]
    sources = np.stack([w - w.mean() for w in (pair.reference, *others)])
    estimate = pair.estimate - pair.estimate.mean()
    weights = np.linalg.lstsq(sources @ sources.T, sources @ estimate, rcond=None)[0]
    own = sources[0]
    target = np.dot(estimate, own) / np.dot(own, own) * own
    explained = weights @ sources
    return target, explained - target, estimate - explained


def si_sdr(reference: Waveform, estimate: Waveform) -> float:
    """SI-SDR in dB of two (time,) waveforms; see `SiSdr`."""
    reference = reference - reference.mean()
    estimate = estimate - estimate.mean()
    target = np.dot(estimate, reference) / max(np.dot(reference, reference), 1e-300) * reference
    return _ratio_db(target, estimate - target)


def best_permutation(references: Waveform, estimates: Waveform) -> tuple[int, ...]:
    """Order of the estimates that has the highest mean SI-SDR.

    Args:
        references, estimates: (stems, time) with the same number of stems.
    Returns:
        For each reference, the index of its estimate.
    """
    stems = range(len(references))
    ratios = [[si_sdr(reference, estimate) for estimate in estimates] for reference in references]
    return max(itertools.permutations(stems), key=lambda order: sum(ratios[n][order[n]] for n in stems))


def _ratio_db(signal: Waveform, error: Waveform) -> float:
    power, error_power = float(np.dot(signal, signal)), float(np.dot(error, error))
    if power <= 0 or error_power <= 0:
        return LIMIT_DB if power > 0 else -LIMIT_DB
    return min(max(10 * float(np.log10(power / error_power)), -LIMIT_DB), LIMIT_DB)
