"""A short training on real recordings makes a model better."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kit.curves import curve

from audiotool import checkpoint, recipe
from audiotool.training.trainer import Trainer


def test_a_short_training_lowers_validation_loss(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    tiny_recipe["model"]["config"] |= {"channels_h": 12, "max_channels": 32}
    tiny_recipe["audio"]["segment_seconds"] = 0.5
    tiny_recipe["loss"] = [
        {"name": "l1-waveform", "weight": 10.0},
        {"name": "multi-resolution-stft", "weight": 0.5},
    ]
    tiny_recipe["optimiser"] = {"name": "adamw", "lr": 2e-3}
    tiny_recipe["schedule"] = {"name": "cosine", "warmup_steps": 10}
    tiny_recipe["train"] |= {"steps": 100, "batch_size": 4}
    tiny_recipe["validation"] |= {"every": 50, "count": 4, "seconds": 2.0, "samples": 1}
    tiny_recipe["logging"] = {"every": 25, "tensorboard": True}
    summary = Trainer(recipe.parse(tiny_recipe, "smoke"), tmp_path, "cpu").run()
    still = recipe.parse(tiny_recipe, "smoke", ["train.steps=1", "optimiser.lr=1e-9"])
    untrained = Trainer(still, tmp_path / "untrained", "cpu").run()
    assert untrained.best is not None
    losses = [float(row["loss"]) for row in curve(tmp_path / "valid.csv")]
    assert losses[-1] < losses[0] < untrained.best[2]
    assert losses[-1] < 0.8 * untrained.best[2]
    assert summary.best == (100, "loss", losses[-1])
    assert checkpoint.read_metadata(tmp_path / "tiny-best.safetensors").training["steps"] == 100
    assert list((tmp_path / "tensorboard").glob("events.*"))
