"""The base class of loss terms: one scalar from a model's outputs and its batch."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from audiotool.discovery import Catalogue
from audiotool.errors import RecipeError


class Loss(nn.Module):
    """Base class of all losses. Recipes set the arguments of the constructor.

    Class attributes:
        name: name in recipes.
    """

    name: ClassVar[str]

    def forward(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
        """Return a scalar.

        Args:
            outputs: from `Model.training_outputs`; "estimate" is (B, stems * C, T).
            batch: "input", "target" (B, stems * C, T) and the other tensors of the example.
        """
        raise TypeError(f"{type(self).__name__} does not compute anything")

    def per_item(self, estimate: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each item of a batch: two tensors (B, C, T) -> (B,).

        This calls `forward` for each item; losses may override it."""
        pairs = zip(estimate.split(1), target.split(1), strict=True)
        return torch.stack([self({"estimate": e}, {"target": t}) for e, t in pairs])


LOSSES: Catalogue[Loss] = Catalogue("audiotool.losses", Loss, "loss", RecipeError)
