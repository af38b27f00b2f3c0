"""The base class of discriminators."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from audiotool.discovery import Catalogue
from audiotool.errors import RecipeError
from audiotool.models.layers.weight_norm import weight_norm

SLOPE = 0.1
"""Negative slope of the LeakyReLU in HiFi-GAN's discriminators and those after them."""

Norm = Callable[[nn.Module], nn.Module]
"""Function that normalises the weight of a layer."""

DiscriminatorOutput = tuple[Tensor, list[Tensor]]
"""(logits, hidden features from first to last) of one sub-discriminator."""


class Discriminator(nn.Module):
    """Base of all discriminators; recipes set the arguments of the constructor.

    Class attributes:
        name: name in recipes.
    """

    name: ClassVar[str]

    def forward(self, waveform: Tensor, **conditions: Any) -> list[DiscriminatorOutput]:
        """Compute logits and features of waveforms (B, 1, T).

        Returns:
            (logits, features) of each sub-discriminator; the logits have no activation.
        """
        raise TypeError(f"{type(self).__name__} does not compute anything")


DISCRIMINATORS: Catalogue[Discriminator] = Catalogue(
    "audiotool.models.discriminators", Discriminator, "discriminator", RecipeError
)


def norm_of(spectral: bool) -> Norm:
    """Return the function that applies spectral norm or weight norm to a layer."""
    return parametrizations.spectral_norm if spectral else weight_norm


def spectrogram_convs(inputs: int, channels: int, norm: Norm) -> nn.ModuleList:
    """Make the five convolutions over spectrograms that UnivNet's discriminator and its successors share.

    Three of them halve the last axis: frames of (B, inputs, F, frames), or bins of (B, inputs, frames, F).
    """
    return nn.ModuleList(
        [
            norm(nn.Conv2d(inputs, channels, (3, 9), padding=(1, 4))),
            *(norm(nn.Conv2d(channels, channels, (3, 9), (1, 2), padding=(1, 4))) for _ in range(3)),
            norm(nn.Conv2d(channels, channels, (3, 3), padding=(1, 1))),
        ]
    )


def convolve(convs: Iterable[nn.Module], x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Apply convolutions one after another, each with a LeakyReLU; return the last output and all of them."""
    features = []
    for conv in convs:
        x = F.leaky_relu(conv(x), SLOPE)
        features.append(x)
    return x, features


def condition_embedding(conditions: int, channels: int) -> nn.Embedding | None:
    """Make the vectors of `with_condition`, zeros; None without conditions."""
    if not conditions:
        return None
    embedding = nn.Embedding(conditions, channels)
    nn.init.zeros_(embedding.weight)
    return embedding


def with_condition(
    logits: Tensor, hidden: Tensor, embedding: nn.Embedding | None, condition: Tensor | None
) -> Tensor:
    """Add the projection of hidden features (B, C, H, W) on the condition's vector to logits (B, 1, H, W).

    Args:
        condition: numbers (B,) or (1,); None adds nothing.
    """
    if embedding is None or condition is None:
        return logits
    return logits + (embedding(condition)[:, :, None, None] * hidden).sum(dim=1, keepdim=True)
