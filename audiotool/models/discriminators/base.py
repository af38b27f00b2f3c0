"""The other side of adversarial training: what a discriminator is called with and gives back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn.utils import parametrizations

from audiotool.discovery import Catalogue
from audiotool.errors import RecipeError
from audiotool.models.layers.weight_norm import weight_norm

Judgement = tuple[Tensor, list[Tensor]]
"""(logits, hidden features from first to last) of one sub-discriminator."""


class Discriminator(nn.Module):
    """Base of all discriminators; options of the constructor are what a recipe may set.

    Class attributes:
        name: what recipes call it.
    """

    name: ClassVar[str]

    def forward(self, waveform: Tensor, **conditions: Any) -> list[Judgement]:
        """Judge waveforms (B, 1, T).

        Returns:
            one (logits, features) for each sub-discriminator; logits are not squashed.
        """
        raise TypeError(f"{type(self).__name__} does not judge anything")


DISCRIMINATORS: Catalogue[Discriminator] = Catalogue(
    "audiotool.models.discriminators", Discriminator, "discriminator", RecipeError
)


def norm_of(spectral: bool) -> Callable[[nn.Module], nn.Module]:
    """Spectral norm or weight norm, to be applied to one layer."""
    return parametrizations.spectral_norm if spectral else weight_norm


def condition_logits(embedding: nn.Embedding, hidden: Tensor, condition: Tensor) -> Tensor:
    """Projection of (B, C, H, W) on the condition's vector, (B, 1, H, W): it is added to the logits.

    Args:
        condition: numbers (B,) or (1,).
    """
    return (embedding(condition)[:, :, None, None] * hidden).sum(dim=1, keepdim=True)
