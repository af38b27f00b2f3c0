"""The base class of discriminators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn.utils import parametrizations

from audiotool.discovery import Catalogue
from audiotool.errors import RecipeError
from audiotool.models.layers.weight_norm import weight_norm

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


def norm_of(spectral: bool) -> Callable[[nn.Module], nn.Module]:
    """Return the function that applies spectral norm or weight norm to a layer."""
    return parametrizations.spectral_norm if spectral else weight_norm


def condition_logits(embedding: nn.Embedding, hidden: Tensor, condition: Tensor) -> Tensor:
    """Return the projection of (B, C, H, W) on the condition's vector, (B, 1, H, W), to be added to the
    logits.

    Args:
        condition: numbers (B,) or (1,).
    """
    return (embedding(condition)[:, :, None, None] * hidden).sum(dim=1, keepdim=True)
