"""Runs of earlier versions, whose states and recipes have former keys, are gone on with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from audiotool import recipe
from audiotool.training.trainer import Trainer


def test_a_run_of_before_is_resumed(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    short = ["train.steps=2", "validation.count=0"]
    Trainer(recipe.parse(tiny_recipe, "tiny", short), tmp_path, "cpu").run()
    [path] = (tmp_path / "states").iterdir()
    state = torch.load(path, weights_only=True)
    state["recipe"]["train"]["rehearsed_probability"] = state["recipe"]["train"].pop("warm_up_probability")
    torch.save(state, path)
    kept = tmp_path / "recipe.yaml"
    kept.write_text(kept.read_text().replace("warm_up_probability", "rehearsed_probability"))
    summary = Trainer(recipe.load(kept, ["train.steps=3"]), tmp_path, "cpu").run(resume=True)
    assert (summary.step, summary.interrupted) == (3, False)
    assert "warm_up_probability" in kept.read_text()
