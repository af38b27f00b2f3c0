"""The weighted sum of a recipe's loss terms."""

from __future__ import annotations

from torch import Tensor, nn

from audiotool.errors import RecipeError
from audiotool.losses.base import make_loss
from audiotool.losses.permutation_invariant import PermutationInvariantLoss
from audiotool.models.registry import MODELS
from audiotool.recipe.schema import Recipe


class Objective(nn.Module):
    """All loss terms of a recipe. `forward` returns their weighted sum, and each by name, unweighted.

    Raises:
        RecipeError: by `forward`: estimate and target have different shapes, which losses would broadcast.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.model = recipe.model.name
        self.terms = nn.ModuleList(
            make_loss(term.name, term.options, recipe.audio.sample_rate) for term in recipe.loss
        )
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
        values = {name: term(outputs, batch) for name, term in zip(self.names, self.terms, strict=True)}
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


def _distinct(names: list[str]) -> list[str]:
    """Number the second and later of equal names."""
    return [n if names[:i].count(n) == 0 else f"{n}-{names[:i].count(n) + 1}" for i, n in enumerate(names)]
