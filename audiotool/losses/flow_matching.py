"""Flow matching: the distance of an estimated velocity field from the true one."""

from __future__ import annotations

from torch import Tensor

from audiotool.losses.base import Loss


class FlowMatchingLoss(Loss):
    """Mean of ((velocity - target) / prior_std)^2, so that quiet stretches weigh as much as loud ones.

    The model's outputs are "velocity", "velocity_target", "prior_std" (1 without a prior) and "mask" (0 for
    padded samples, which do not count), all (B, 1, T).

    Reference: Lipman et al., Flow Matching for Generative Modeling, ICLR 2023, arXiv:2210.02747; weighting:
        Lee et al., PriorGrad, ICLR 2022, arXiv:2106.06406.
    """

    name = "flow-matching"

    def forward(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
        difference = outputs["velocity"] - outputs["velocity_target"]
        mask = outputs["mask"]
        return ((difference / outputs["prior_std"]).square() * mask).sum() / mask.sum()
