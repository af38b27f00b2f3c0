"""A loss term: a name a recipe can use, and one scalar from a model's outputs and its batch."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from audiotool.discovery import Catalogue
from audiotool.errors import RecipeError


class Loss(nn.Module):
    """Base of all losses; options of the constructor are what a recipe may set.

    Class attributes:
        name: what recipes call it.
    """

    name: ClassVar[str]

    def forward(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
        """Return a scalar.

        Args:
            outputs: from `Model.training_outputs`; "estimate" is (B, stems * C, T).
            batch: "input", "target" (B, stems * C, T) and what else the example holds.
        """
        raise TypeError(f"{type(self).__name__} does not compute anything")

    def per_item(self, estimate: Tensor, target: Tensor) -> Tensor:
        """The loss of each item alone: (B, C, T) twice -> (B,); a call an item, unless overridden."""
        pairs = zip(estimate.split(1), target.split(1), strict=True)
        return torch.stack([self({"estimate": e}, {"target": t}) for e, t in pairs])


LOSSES: Catalogue[Loss] = Catalogue("audiotool.losses", Loss, "loss", RecipeError)
