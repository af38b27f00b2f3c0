"""The base class of loss terms: one scalar from a model's outputs and its batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from audiotool.configuration import constructor_arguments, constructor_options
from audiotool.discovery import Catalogue
from audiotool.errors import RecipeError


class Loss(nn.Module):
    """Base class of all losses. Recipes set the arguments of the constructor, whose annotations are checked.

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


def make_loss(name: str, options: Mapping[str, Any], sample_rate: int | None = None) -> Loss:
    """Make a loss from its name and plain options; lists become tuples where a tuple is annotated.

    Args:
        sample_rate: value of an argument `sample_rate`.
    Raises:
        RecipeError: no such loss, an unknown option, or a value of another type, out of range, or that the
            loss refuses; the options have another sample rate.
    """
    loss_class = LOSSES.get(name)
    takes_rate = sample_rate is not None and "sample_rate" in constructor_options(loss_class)
    given = {"sample_rate": sample_rate} if takes_rate else {}
    try:
        arguments = constructor_arguments(loss_class, {**given, **options}, name)
        if takes_rate and arguments["sample_rate"] != sample_rate:
            found = f"sample_rate is {arguments['sample_rate']} Hz, audio.sample_rate {sample_rate} Hz"
            raise ValueError(f"{found}: leave it out")
        return loss_class(**arguments)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"{name}: {error}") from error
