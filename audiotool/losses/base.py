"""A loss term: a name a recipe can use, and one scalar from a model's outputs and its batch."""

from __future__ import annotations

from typing import ClassVar

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


LOSSES: Catalogue[Loss] = Catalogue("audiotool.losses", Loss, "loss", RecipeError)
