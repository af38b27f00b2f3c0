"""Errors of the fundamental frequency, tracked in both waveforms by YIN every 10 ms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audiotool.metrics.base import Metric, NothingToMeasure, Pair, Unscorable

if TYPE_CHECKING:
    from torch import Tensor

SAMPLE_RATE = 16000
HOP_LENGTH = 160


class F0Rmse(Metric):
    """Root mean square error of F0 over the frames that are voiced in both."""

    name = "f0_rmse"
    unit = "Hz"
    higher_is_better = False
    needs = ("torch",)

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

    def measure(self, pair: Pair) -> float:
        reference, estimate = _tracks(pair)
        return 100 * float(((reference > 0) != (estimate > 0)).double().mean())


def _tracks(pair: Pair) -> tuple[Tensor, Tensor]:
    import torch

    from audiotool.dsp.pitch import fundamental_frequency

    pair.require_sound()
    reference, estimate = (
        fundamental_frequency(torch.from_numpy(w.astype("float32"))[None], SAMPLE_RATE, HOP_LENGTH)[
            0
        ].double()
        for w in pair.at(SAMPLE_RATE)
    )
    if not (reference > 0).any():
        raise NothingToMeasure("the reference has no voiced frame")
    return reference, estimate
