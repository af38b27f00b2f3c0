"""Losses on predicted magnitudes and F0, for the harmonic vocoder.

Its `training_outputs` provide "log_magnitude", "target_log_magnitude" (B, F, T) in nepers, "pitch_logits"
(B, classes, T), "pitch_classes" (B, classes, T), "voicing_logit" and "target_f0" (B, T).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from audiotool.losses.base import Loss


class LogMagnitudeLoss(Loss):
    """Mean absolute difference of log magnitudes, and of compressed magnitudes, in which loud bins dominate.

    Args:
        compressed: weight of the second term.
        exponent: of the magnitudes in it, 0 to 1.
    """

    name = "log-magnitude"

    def __init__(self, compressed: float = 1.0, exponent: float = 0.3) -> None:
        super().__init__()
        self.compressed = compressed
        self.exponent = exponent

    def forward(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
        estimate, target = outputs["log_magnitude"], outputs["target_log_magnitude"]
        loud = F.l1_loss((self.exponent * estimate).exp(), (self.exponent * target).exp())
        return F.l1_loss(estimate, target) + self.compressed * loud


class PitchLoss(Loss):
    """Cross-entropy of F0's classes where the target is voiced, plus binary cross-entropy of voicing.

    Reference: Kim et al., CREPE, ICASSP 2018, arXiv:1802.06182.
    """

    name = "pitch"

    def forward(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
        voiced = (outputs["target_f0"] > 0).float()
        entropy = F.cross_entropy(outputs["pitch_logits"], outputs["pitch_classes"], reduction="none")
        voicing = F.binary_cross_entropy_with_logits(outputs["voicing_logit"], voiced)
        return (entropy * voiced).sum() / voiced.sum().clamp(min=1) + voicing
