"""The other side of adversarial training: what a discriminator is called with and gives back."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from audiotool.discovery import Catalogue
from audiotool.errors import RecipeError

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
