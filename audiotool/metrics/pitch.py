"""Errors of the fundamental frequency, tracked in both waveforms by YIN every 10 ms.

One gain first brings the reference to `LEVEL`, because the tracker takes what is below a fixed level for
silence: a quiet recording would seem to have few voiced frames, and few errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from audiotool.metrics.base import SILENCE, Metric, NothingToMeasure, Pair, Unscorable, Waveform

if TYPE_CHECKING:
    from torch import Tensor

SAMPLE_RATE = 16000
HOP_LENGTH = 160

LEVEL = 0.05
"""Root mean square of a reference whose pitch is tracked: -26 dB, a usual level of speech."""


class F0Rmse(Metric):
    """Root mean square error of F0 over the frames that are voiced in both."""

    name = "f0_rmse"
    unit = "Hz"
    higher_is_better = False
    needs = ("torch",)
    rates = (SAMPLE_RATE,)

    def measure(self, pair: Pair) -> float:
        reference, estimate = _tracks(pair)
        both = (reference > 0) & (estimate > 0)
        if not both.any():
            raise Unscorable("no frame is voiced in both")
        return float((reference[both] - estimate[both]).square().mean().sqrt())


class VoicingError(Metric):
    """Share of frames that are voiced in one and unvoiced in the other."""

    name = "vuv_error"
    unit = "%"
    higher_is_better = False
    needs = ("torch",)
    rates = (SAMPLE_RATE,)

    def measure(self, pair: Pair) -> float:
        reference, estimate = _tracks(pair)
        return 100 * float(((reference > 0) != (estimate > 0)).double().mean())


def _tracks(pair: Pair) -> tuple[Tensor, Tensor]:
    pair.require_sound()
    both = pair.at(SAMPLE_RATE)
    gain = to_level(both.reference)
    reference, estimate = (track(gain * waveform) for waveform in both)
    if not (reference > 0).any():
        raise NothingToMeasure("the reference has no voiced frame")
    return reference, estimate


def to_level(reference: Waveform) -> float:
    """Return the gain that brings a reference (time,) to `LEVEL`; that of `SILENCE` for quieter ones."""
    return LEVEL / max(float(reference.std()), SILENCE)


def track(waveform: Waveform) -> Tensor:
    """Return F0 in Hz of a waveform (time,) at 16 kHz, every `HOP_LENGTH` samples; 0 where unvoiced."""
    import torch

    from audiotool.dsp.pitch import fundamental_frequency

    samples = torch.from_numpy(waveform.astype("float32"))[None]
    return fundamental_frequency(samples, SAMPLE_RATE, HOP_LENGTH)[0].double()
