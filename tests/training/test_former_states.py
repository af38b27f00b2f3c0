"""Runs of earlier versions, whose states and recipes have former keys, are gone on with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from kit.curves import curve

from audiotool import recipe
from audiotool.models.registry import MODELS
from audiotool.training import muon
from audiotool.training.trainer import Trainer


def test_a_run_of_before_is_resumed(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    short = ["train.steps=2", "validation.count=0"]
    Trainer(recipe.parse(tiny_recipe, "tiny", short), tmp_path, "cpu").run()
    [path] = (tmp_path / "states").iterdir()
    state = torch.load(path, weights_only=True)
    state["recipe"]["train"]["rehearsed_probability"] = state["recipe"]["train"].pop("warm_up_probability")
    # Losses had one number of steps.
    state["progress"] |= {"sums": {"loss": 300.0}, "summed": 2}
    torch.save(state, path)
    kept = tmp_path / "recipe.yaml"
    kept.write_text(kept.read_text().replace("warm_up_probability", "rehearsed_probability"))
    summary = Trainer(recipe.load(kept, ["train.steps=3"]), tmp_path, "cpu").run(resume=True)
    assert (summary.step, summary.interrupted) == (3, False)
    assert "warm_up_probability" in kept.read_text()
    assert 100 < float(curve(tmp_path / "train.csv")[-1]["loss"]) < 150


def test_a_run_whose_muon_had_more_matrices_ends_as_it_would_have(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_recipe["model"] = {"name": "band-split-gru", "config": MODELS.get("band-split-gru").small}
    tiny_recipe["optimiser"] = {"name": "muon", "lr": 1e-3}
    tiny_recipe["validation"] = {"count": 0}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    with monkeypatch.context() as before:
        before.setattr(muon, "_matrices", muon._former_matrices)
        Trainer(recipe.parse(tiny_recipe, "tiny", ["train.steps=4"]), whole, "cpu").run()
        Trainer(recipe.parse(tiny_recipe, "tiny", ["train.steps=2"]), parts, "cpu").run()
    for steps in (3, 4):  # the state that was written since is of the same kind
        Trainer(recipe.parse(tiny_recipe, "tiny", [f"train.steps={steps}"]), parts, "cpu").run(resume=True)
    states = (torch.load(p / "states" / "step-0000000004.pt", weights_only=True) for p in (whole, parts))
    first, second = (state["model"] for state in states)
    assert all(torch.equal(first[key], second[key]) for key in first)
