"""Metrics of a restored band: its energy, its correlation over time, and its log-spectral distance.

The band begins where the content of the unprocessed input ends, or, if that is not known, at half the Nyquist
frequency. A logarithmic distance falls when any signal fills an empty band. Therefore energies are summed
linearly, and the logarithmic metrics raise every bin to a floor: `AUDIBLE_DB` below the loudest bin of the
reference. Pauses do not count.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from audiotool.dsp.erb import hz_to_erb
from audiotool.dsp.framing import StreamingFrames, hann
from audiotool.metrics.base import Metric, NothingToMeasure, Pair, Unscorable, Waveform
from audiotool.metrics.pitch import HOP_LENGTH, SAMPLE_RATE, to_level, track

AUDIBLE_DB = 60.0
"""Level of the floor below the loudest bin. In speech at 60 dB SPL a bin 60 dB weaker is inaudible."""

NOTHING_DB = 120.0
"""Level below the loudest bin of the reference that stands for zero energy."""

PAUSE_DB = 40.0
"""Level below the loudest frame of the reference from which a frame is a pause."""

FRAME_SECONDS, HOP_SECONDS = 0.032, HOP_LENGTH / SAMPLE_RATE
BLOCK = 1 << 17
"""Number of samples that are analysed at a time."""


@dataclass
class RestoredBand:
    """The band above the edge, frame by frame, pauses left out.

    Args:
        energies: (2, frames) of the reference and the estimate; at least `NOTHING_DB` below the loudest bin.
        reference, estimate: (frames, bands) sums of audible powers over ERB bands.
        distances: root mean square over bins of log10 ratios of audible powers, of each frame that has an
            audible bin.
        voiced: (frames,) whether the reference is voiced.
    """

    energies: NDArray[np.float64]
    reference: NDArray[np.float64]
    estimate: NDArray[np.float64]
    distances: NDArray[np.float64]
    voiced: NDArray[np.bool_]


class RestoredBandMetric(Metric):
    """Base of the metrics of a restored band, which share its analysis."""

    family = "restored"
    uses_edge = True
    needs = ("torch",)
    rates = (SAMPLE_RATE,)

    @staticmethod
    def band(pair: Pair) -> RestoredBand:
        """Return the analysis of a pair, which its metrics share.

        Raises:
            Unscorable: the reference is silent, or nothing of its band is audible.
        """
        return pair.results.of(RestoredBand, lambda: _analysed(pair))


class _RestoredEnergy(RestoredBandMetric):
    """Energy of the restored band in voiced or in unvoiced frames, over the reference's."""

    unit = "dB"
    higher_is_better = None
    of_voiced: ClassVar[bool]

    def measure(self, pair: Pair) -> float:
        band = self.band(pair)
        frames = band.voiced == self.of_voiced
        if not frames.any():
            raise NothingToMeasure(f"the reference has no {'voiced' if self.of_voiced else 'unvoiced'} frame")
        reference, estimate = band.energies[:, frames].sum(1)
        return float(10 * np.log10(estimate / reference))


class RestoredVoicedEnergy(_RestoredEnergy):
    """Energy of the restored band in voiced frames, over the reference's; below 0 it is too weak."""

    name = "restored_voiced"
    of_voiced = True


class RestoredUnvoicedEnergy(_RestoredEnergy):
    """Energy of the restored band in unvoiced frames, over the reference's; below 0 it is too weak."""

    name = "restored_unvoiced"
    of_voiced = False


class RestoredCorrelation(RestoredBandMetric):
    """Correlation of the levels of ERB bands over time, the mean of the bands; a constant floor has 0."""

    name = "restored_correlation"

    def measure(self, pair: Pair) -> float:
        band = self.band(pair)
        reference, estimate = (np.log10(power) for power in (band.reference, band.estimate))
        reference, estimate = reference - reference.mean(0), estimate - estimate.mean(0)
        spread, own = np.square(reference).sum(0), np.square(estimate).sum(0)
        # A band whose level stays within a hundredth of a decibel has no correlation.
        varies = spread > 1e-6 * len(reference)
        if not varies.any():
            raise NothingToMeasure("the level of the reference's band never changes")
        both = (reference * estimate).sum(0)[varies]
        known = own[varies] > 1e-6 * len(reference)
        return float(
            np.mean(np.where(known, both / np.sqrt(spread[varies] * np.maximum(own[varies], 1e-12)), 0))
        )


class RestoredLogSpectralDistance(RestoredBandMetric):
    """Log-spectral distance of the restored band over bins that are audible in either, mean of frames."""

    name = "restored_lsd"
    unit = "log10"
    higher_is_better = False

    def measure(self, pair: Pair) -> float:
        distances = self.band(pair).distances
        if not distances.size:
            raise Unscorable("nothing of the restored band is audible")
        return float(distances.mean())


def _analysed(pair: Pair) -> RestoredBand:
    pair.require_sound()
    rate = pair.sample_rate
    n_fft, hop = 2 * round(FRAME_SECONDS * rate / 2), round(HOP_SECONDS * rate)
    nyquist = rate / 2
    edge_hz = pair.edge_hz if pair.edge_hz is not None and pair.edge_hz <= 0.9 * nyquist else nyquist / 2
    first = int(np.ceil(edge_hz / rate * n_fft))
    starts = _starts_of_bands(first, n_fft, rate)
    loudness = [(power.max(), power.sum(1)) for power in _powers(pair.reference, n_fft, hop)]
    if not loudness:
        raise Unscorable("too short for one frame")
    floor = max(peak for peak, _ in loudness) * 10 ** (-AUDIBLE_DB / 10)
    loud = np.concatenate([sums for _, sums in loudness])
    speech = loud > loud.max() * 10 ** (-PAUSE_DB / 10)
    energies, references, estimates, distances = (list[NDArray[np.float64]]() for _ in range(4))
    both = zip(_powers(pair.reference, n_fft, hop), _powers(pair.estimate, n_fft, hop), strict=True)
    done = 0
    for found in both:
        counted = speech[done : done + len(found[0])]
        done += len(found[0])
        above = [power[counted, first:] for power in found]
        energies.append(np.stack([power.sum(1) for power in above]))
        reference, estimate = (np.maximum(power, floor) for power in above)
        references.append(np.add.reduceat(reference, starts, axis=1))
        estimates.append(np.add.reduceat(estimate, starts, axis=1))
        squares = np.square(np.log10(reference / estimate)).sum(1)
        audible = ((reference > floor) | (estimate > floor)).sum(1)
        distances.append(np.sqrt(squares[audible > 0] / audible[audible > 0]))
    nothing = floor * 10 ** ((AUDIBLE_DB - NOTHING_DB) / 10)
    return RestoredBand(
        energies=np.maximum(np.concatenate(energies, axis=1), nothing),
        reference=np.concatenate(references),
        estimate=np.concatenate(estimates),
        distances=np.concatenate(distances),
        voiced=_voiced(pair, len(loud), n_fft, hop)[speech],
    )


def _powers(waveform: Waveform, n_fft: int, hop: int) -> Iterator[NDArray[np.float64]]:
    """Yield the power spectra (frames, bins) of a waveform (time,), some frames at a time.

    Frame n begins at sample n * hop.
    """
    frames, state = StreamingFrames(n_fft, hop, padding="none"), None
    window = hann(n_fft, n_fft)
    for start in range(0, len(waveform), BLOCK):
        block = waveform[None, start : start + BLOCK]
        cut, state = frames.step(block, state, final=start + BLOCK >= len(waveform))
        if cut.shape[1]:
            spec = np.fft.rfft(cut[0] * window)
            yield np.square(spec.real) + np.square(spec.imag)


def _starts_of_bands(first: int, n_fft: int, rate: int) -> NDArray[np.int64]:
    """Return the first bin of each band of about one ERB, counted from bin `first`."""
    erb = hz_to_erb(np.arange(first, n_fft // 2 + 1) / n_fft * rate)
    return np.flatnonzero(np.diff(np.floor(erb - erb[0]), prepend=-1.0))


def _voiced(pair: Pair, frames: int, n_fft: int, hop: int) -> NDArray[np.bool_]:
    """Return (frames,) whether the reference is voiced in the middle of each frame.

    Frames are paired by time: at a rate that has no whole hops theirs are a little shorter or longer than the
    track's.
    """
    reference = pair.at(SAMPLE_RATE).reference
    voiced = (track(to_level(reference) * reference) > 0).numpy()
    middles = (np.arange(frames) * hop + n_fft / 2) / pair.sample_rate
    nearest = np.rint(middles / HOP_SECONDS).astype(int)
    return voiced[nearest.clip(max=len(voiced) - 1)]
