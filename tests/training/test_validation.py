"""Validation: the same weights have the same losses and estimates, whatever is drawn."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from audiotool import recipe
from audiotool.models.registry import MODELS
from audiotool.training.objective import Objective
from audiotool.training.validation import Validator


class Drawing(MODELS.get("gtcrn")):  # type: ignore[misc]
    """A model that adds noise, in training and in validation."""

    def training_outputs(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"estimate": batch["input"] + torch.randn_like(batch["input"])}


@pytest.mark.parametrize("seed", [0, 5])
def test_equal_weights_have_equal_validations(tiny_recipe: dict[str, Any], seed: int) -> None:
    model = Drawing.from_config(MODELS.get("gtcrn").small).eval()
    objective = Objective(recipe.parse(tiny_recipe, "tiny"))
    examples = [{"input": torch.zeros(1, 800), "target": torch.ones(1, 800)} for _ in range(3)]
    validator = Validator(examples, [], 16000, 1, seed)
    torch.manual_seed(1)
    expected = torch.rand(4)
    torch.manual_seed(1)
    first, second = (validator.begin(n, model, objective, torch.device("cpu"), {}) for n in (1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert validator.pending[0].losses == validator.pending[1].losses
    assert not torch.equal(first[0], first[1])
    # Training draws what it would have drawn.
    assert torch.equal(torch.rand(4), expected)
