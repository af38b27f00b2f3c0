"""The weighted sum of a recipe's loss terms."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from audiotool.errors import RecipeError
from audiotool.losses.base import make_loss
from audiotool.losses.permutation_invariant import PermutationInvariantLoss
from audiotool.models.registry import MODELS
from audiotool.recipe.schema import Recipe
from audiotool.training.memory import ran_out_of_memory


class Objective(nn.Module):
    """All loss terms of a recipe. `forward` returns their weighted sum, and each by name, unweighted.

    Raises:
        RecipeError: by `forward`: estimate and target have different shapes, which losses would broadcast; or
            a loss does not fit the model's outputs, as `explained` says.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.model = recipe.model.name
        self.terms = nn.ModuleList(
            make_loss(term.name, term.options, recipe.audio.sample_rate) for term in recipe.loss
        )
        self.places = [f"loss.{n}: {term.name}" for n, term in enumerate(recipe.loss)]
        self.weights = [term.weight for term in recipe.loss]
        # A loss may have the name of the metric of which it is the negative.
        self.names = _distinct([f"{term.name}-loss" for term in recipe.loss])

    def forward(
        self, outputs: dict[str, Tensor], batch: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        estimate, target = outputs.get("estimate"), batch.get("target")
        if estimate is not None and target is not None and estimate.shape != target.shape:
            raise RecipeError(
                f"{MODELS.called(self.model)} gives an estimate of shape {tuple(estimate.shape)} for a target"
                f" of shape {tuple(target.shape)} (examples, stems and channels, samples)"
            )
        values = {}
        for name, place, term in zip(self.names, self.places, self.terms, strict=True):
            with explained(place, batch | outputs):
                values[name] = term(outputs, batch)
        total = sum(weight * value for weight, value in zip(self.weights, values.values(), strict=True))
        assert isinstance(total, Tensor)
        return total, {name: value.detach() for name, value in values.items()}

    def align(self, estimate: Tensor, target: Tensor) -> Tensor:
        """Put the estimates (B, stems * C, T) into the order of their targets, if the losses are
        permutation-invariant."""
        for term in self.terms:
            if isinstance(term, PermutationInvariantLoss):
                return term.align(estimate, target)
        return estimate


@contextlib.contextmanager
def explained(place: str, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Explain the errors of the `with` block, a part of a recipe that computes something of tensors.

    Args:
        place: the part's key in the recipe and its name.
        tensors: all that it is given.
    Raises:
        RecipeError: it asks for a tensor that is not there, or PyTorch refuses the shapes.
    """
    try:
        yield
    except KeyError as error:
        raise RecipeError(
            f"{place} needs {error}, which this model and its examples do not give (they give:"
            f" {', '.join(sorted(tensors))})"
        ) from error
    except RuntimeError as error:
        # Of another class are errors of devices, and operators that a device lacks.
        if type(error) is not RuntimeError or ran_out_of_memory(error):
            raise
        shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in tensors.items())
        raise RecipeError(f"{place} does not fit what it is given ({shapes}): {error}") from error


def _distinct(names: list[str]) -> list[str]:
    """Number the second and later of equal names."""
    return [n if names[:i].count(n) == 0 else f"{n}-{names[:i].count(n) + 1}" for i, n in enumerate(names)]
