"""Losses on compressed magnitude and phase, for models that estimate them separately (MP-SENet,
MambAttention).

Their `training_outputs` provide "magnitude", "phase", "target_magnitude", "target_phase" (B, F, T),
"reanalysis" (B, F, T, 2), "levelled_estimate" and "levelled_target" (B, 1, T).

Lu, Ai, Ling: MP-SENet, Interspeech 2023, arXiv:2305.13686.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from audiotool.dsp.magnitude_phase import as_complex
from audiotool.losses.base import Loss


class CompressedMagnitudeLoss(Loss):
    """Mean squared difference of the compressed magnitudes."""

    name = "compressed-magnitude"

    def forward(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
        return F.mse_loss(outputs["magnitude"], outputs["target_magnitude"])


class CompressedComplexLoss(Loss):
    """Mean squared difference of the compressed complex spectra, real and imaginary parts summed."""

    name = "compressed-complex"

    def forward(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
        estimate = as_complex(outputs["magnitude"], outputs["phase"])
        target = as_complex(outputs["target_magnitude"], outputs["target_phase"])
        return 2 * F.mse_loss(estimate, target)


class ConsistencyLoss(Loss):
    """Mean squared difference of the estimated spectrum from the spectrum of its waveform, both parts summed.

    It is zero if the estimate is the spectrum of a waveform.
    """

    name = "consistency"

    def forward(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
        estimate = as_complex(outputs["magnitude"], outputs["phase"])
        return 2 * F.mse_loss(estimate, outputs["reanalysis"])


class LevelledL1Loss(Loss):
    """Mean absolute difference of the waveforms, scaled so that the input's root mean square is one."""

    name = "levelled-l1"

    def forward(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
        return F.l1_loss(outputs["levelled_estimate"], outputs["levelled_target"])


class AntiWrappingPhaseLoss(Loss):
    """Phase distance modulo 2 pi, summed over three quantities.

    The instantaneous phase itself, its difference along frequency (group delay), and its difference along
    time (instantaneous angular frequency). Phases are on a circle, so each distance is `anti_wrapping`.

    Args:
        edges: count the first bin and the first frame as differences from zero, as MambAttention does.
    """

    name = "anti-wrapping-phase"

    def __init__(self, edges: bool = False) -> None:
        super().__init__()
        self.edges = edges

    def forward(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
        phase, delay, frequency = self.terms(outputs["phase"], outputs["target_phase"])
        return phase + delay + frequency

    def terms(self, phase: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the terms of instantaneous phase, group delay and angular frequency of phases (B, F, T)."""
        error = phase - target
        delay = torch.diff(F.pad(error, (0, 0, 1, 0)) if self.edges else error, dim=1)
        frequency = torch.diff(F.pad(error, (1, 0)) if self.edges else error, dim=2)
        return anti_wrapping(error).mean(), anti_wrapping(delay).mean(), anti_wrapping(frequency).mean()


def anti_wrapping(x: Tensor) -> Tensor:
    """Return |x - 2 pi round(x / 2 pi)|, the distance in radians from the nearest multiple of 2 pi."""
    return (x - 2 * torch.pi * torch.round(x / (2 * torch.pi))).abs()
