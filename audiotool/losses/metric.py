"""Losses of a discriminator that learns to predict a metric, and of a model that maximises it (MetricGAN,
arXiv:1905.04874)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from audiotool.models.discriminators.metric import MetricDiscriminator


def metric_generator_loss(discriminator: MetricDiscriminator, outputs: dict[str, Tensor]) -> Tensor:
    """Return the squared distance of the predicted score from a perfect one.

    Args:
        outputs: of a magnitude and phase model: "scored_magnitude" and "target_magnitude" (B, F, T).
    """
    return (discriminator.score(outputs["target_magnitude"], outputs["scored_magnitude"]) - 1).square().mean()


def metric_discriminator_loss(
    discriminator: MetricDiscriminator, outputs: dict[str, Tensor], pesq: Sequence[float | None]
) -> Tensor:
    """Return the squared errors of the scores predicted for the target itself and for the estimate.

    Args:
        outputs: as above; no gradient flows into them.
        pesq: wide-band PESQ of each estimate. If one is None (PESQ found no speech in it), this step leaves
            the estimates out, as published.
    """
    target, estimate = (outputs[key].detach() for key in ("target_magnitude", "scored_magnitude"))
    loss = (discriminator.score(target, target) - 1).square().mean()
    scores = [score for score in pesq if score is not None]
    if len(scores) < len(pesq):
        return loss
    measured = pesq_as_score(torch.tensor(scores).to(target))
    return loss + F.mse_loss(discriminator.score(target, estimate)[:, 0], measured)


def pesq_as_score(pesq: Tensor) -> Tensor:
    """Map PESQ from 1 ... 4.5 to 0 ... 1."""
    return (pesq - 1) / 3.5
