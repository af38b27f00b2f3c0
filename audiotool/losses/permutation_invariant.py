"""Stems without a fixed order: the estimates are compared in the order that fits best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from audiotool.configuration import Rate
from audiotool.losses.base import Loss, make_loss


class PermutationInvariantLoss(Loss):
    """Another loss, for each item in the order of stems that makes it least.

    Args:
        loss: name of the other loss.
        options: its options.
        stems: how many.
        sample_rate: Hz, for the other loss if it has this argument; None leaves it its own default.
    Reference: Yu et al., Permutation invariant training of deep models, ICASSP 2017, arXiv:1607.00325.
    """

    name = "permutation-invariant"

    def __init__(
        self,
        loss: str = "si-sdr",
        options: Mapping[str, Any] | None = None,
        stems: int = 2,
        sample_rate: Rate | None = None,
    ) -> None:
        super().__init__()
        if loss == self.name:
            raise ValueError("a permutation-invariant loss cannot hold another")
        if stems < 2:
            raise ValueError(f"stems must be at least 2, found {stems}")
        self.loss = make_loss(loss, options or {}, sample_rate)
        self.stems = stems

    def forward(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
        return self._best(outputs["estimate"], batch["target"])[0].mean()

    def align(self, estimate: Tensor, target: Tensor) -> Tensor:
        """The estimates (B, stems * C, T) in the order that fits the targets best."""
        order = self._best(estimate, target)[1]
        stems = estimate.unflatten(1, (self.stems, -1))
        return torch.stack([item[rank] for item, rank in zip(stems, order, strict=True)]).flatten(1, 2)

    def _best(self, estimate: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Least loss (B,), and which estimate belongs to each target (B, stems)."""
        from torchmetrics.functional.audio import permutation_invariant_training

        estimates, targets = (w.unflatten(1, (self.stems, -1)) for w in (estimate, target))
        least, order = permutation_invariant_training(
            estimates, targets, self.loss.per_item, mode="speaker-wise", eval_func="min"
        )
        return least, order
