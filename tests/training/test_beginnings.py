"""Weights to begin with, and parts that stay as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from audiotool import checkpoint, recipe
from audiotool.errors import CheckpointError, RecipeError
from audiotool.models.cleanunet import CleanUNet
from audiotool.training.setup import build_model


@pytest.fixture
def weights(tiny_recipe: dict[str, Any], tmp_path: Path) -> Path:
    torch.manual_seed(7)
    model = CleanUNet.from_config(tiny_recipe["model"]["config"])
    path = tmp_path / "first.safetensors"
    metadata = checkpoint.Metadata("denoise", checkpoint.describe_model(model), 16000)
    checkpoint.save(path, model.state_dict(), metadata)
    return path


def test_weights_are_random_by_seed(tiny_recipe: dict[str, Any]) -> None:
    first, again, other = (
        build_model(recipe.parse(tiny_recipe, "tiny", [f"train.seed={seed}"])).state_dict()
        for seed in (0, 0, 1)
    )
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert not torch.equal(first["tsfm_conv1.weight"], other["tsfm_conv1.weight"])


def test_training_begins_with_another_checkpoint(tiny_recipe: dict[str, Any], weights: Path) -> None:
    model = build_model(recipe.parse(tiny_recipe, "tiny", [f"init.checkpoint={weights}"]))
    torch.testing.assert_close(model.state_dict(), checkpoint.load(weights)[0].state_dict(), rtol=0, atol=0)


def test_skipped_tensors_stay_random(tiny_recipe: dict[str, Any], weights: Path) -> None:
    wider = ["model.config.transformer_inner_dim=64", f"init.checkpoint={weights}"]
    with pytest.raises(CheckpointError, match="of another shape"):
        build_model(recipe.parse(tiny_recipe, "tiny", wider))
    skip = "init.skip=['*.pos_ffn.w_*']"
    model = build_model(recipe.parse(tiny_recipe, "tiny", [*wider, skip]))
    taken = checkpoint.load(weights)[0].state_dict()
    assert torch.equal(model.state_dict()["encoder.0.0.weight"], taken["encoder.0.0.weight"])


def test_begins_with_the_same_architecture_only(tiny_recipe: dict[str, Any], weights: Path) -> None:
    values = tiny_recipe | {"model": {"name": "gtcrn"}, "init": {"checkpoint": str(weights)}}
    with pytest.raises(CheckpointError, match="holds a cleanunet, the recipe trains a gtcrn"):
        build_model(recipe.parse(values, "tiny"))


def test_frozen_parts_do_not_move(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    from audiotool.training.trainer import Trainer

    settings = ["freeze=['encoder.*', 'tsfm_*']", "validation.count=0", "train.ema=0"]
    parsed = recipe.parse(tiny_recipe, "tiny", settings)
    before = build_model(parsed).state_dict()
    trainer = Trainer(parsed, tmp_path, "cpu")
    trainer.run()
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(value, before[name]) == (not name.startswith("decoder")), name


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("freeze=['encodr.0.0.weight']", r"no parameter fits 'encodr\.0\.0\.weight'; did you mean 'encoder"),
        ("freeze=['*']", "nothing is left to train"),
        ("model.config.sample_rate=8000", "sample_rate is 16000 Hz, but model.config makes it 8000 Hz"),
    ],
)
def test_bad_beginnings_are_refused(tiny_recipe: dict[str, Any], setting: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        build_model(recipe.parse(tiny_recipe, "tiny", [setting]))
