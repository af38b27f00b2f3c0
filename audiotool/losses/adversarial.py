"""Losses of discriminators, and of the model that is trained against them.

A discriminator returns a list of (logits, features), one for each sub-discriminator.

    kind            discriminator                                       generator
    least-squares   mean (1 - D(real))^2 + mean D(fake)^2               mean (1 - D(fake))^2
    hinge           mean relu(1 - D(real)) + mean relu(1 + D(fake))     mean relu(1 - D(fake))
    hinge-linear    the same                                            -mean D(fake)

Least squares: Mao et al., ICCV 2017, arXiv:1611.04076. Hinge: Lim and Ye, Geometric GAN, arXiv:1705.02894.
The published systems add the sub-discriminators up (HiFi-GAN, BigVGAN) or average them (Parallel WaveGAN,
MelGAN, Vocos): `reduction` says which.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from audiotool.models.discriminators.base import DiscriminatorOutput

Kind = Literal["least-squares", "hinge", "hinge-linear"]
Reduction = Literal["sum", "mean"]


def generator_loss(
    fake: Sequence[DiscriminatorOutput], kind: Kind = "least-squares", reduction: Reduction = "sum"
) -> Tensor:
    """Return the loss of a model whose estimates a discriminator classifies.

    Args:
        kind: "hinge-linear" is -mean D(fake), as Parallel WaveGAN's hinge; "hinge" stops at 1, as Vocos'.
    """
    terms = []
    for logits, _ in fake:
        if kind == "least-squares":
            terms.append((1 - logits).square().mean())
        elif kind == "hinge":
            terms.append((1 - logits).relu().mean())
        else:
            terms.append(-logits.mean())
    return _reduced(terms, reduction)


def discriminator_loss(
    real: Sequence[DiscriminatorOutput],
    fake: Sequence[DiscriminatorOutput],
    kind: Kind = "least-squares",
    reduction: Reduction = "sum",
) -> Tensor:
    """Return the loss of a discriminator that classifies targets as real and estimates as fake."""
    terms = []
    for (real_logits, _), (fake_logits, _) in zip(real, fake, strict=True):
        if kind == "least-squares":
            terms.append((1 - real_logits).square().mean() + fake_logits.square().mean())
        else:
            terms.append((1 - real_logits).relu().mean() + (1 + fake_logits).relu().mean())
    return _reduced(terms, reduction)


def feature_matching_loss(
    real: Sequence[DiscriminatorOutput],
    fake: Sequence[DiscriminatorOutput],
    layers: Reduction = "sum",
    reduction: Reduction = "sum",
) -> Tensor:
    """Return the mean absolute difference of the discriminators' features of targets and estimates.

    Args:
        layers: how the layers of one sub-discriminator are reduced.
        reduction: how the sub-discriminators are reduced.
    """
    terms = []
    for (_, real_features), (_, fake_features) in zip(real, fake, strict=True):
        distances = [(r.detach() - f).abs().mean() for r, f in zip(real_features, fake_features, strict=True)]
        terms.append(_reduced(distances, layers))
    return _reduced(terms, reduction)


def _reduced(terms: list[Tensor], reduction: Reduction) -> Tensor:
    stacked = torch.stack(terms)
    return stacked.sum() if reduction == "sum" else stacked.mean()
