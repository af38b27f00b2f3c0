"""A run exports weights for inference: the averaged ones, with weight norm folded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from kit.runs import stopped_after, train

from audiotool import checkpoint, recipe
from audiotool.models.base import Model
from audiotool.models.cleanunet import CleanUNet
from audiotool.models.hifigan import HiFiGAN
from audiotool.training.export import make_metadata, tensors_for_use
from audiotool.training.setup import begin_from
from audiotool.training.trainer import Trainer

TINY = {
    "mel": {"sample_rate": 16000, "n_fft": 64, "hop_length": 8, "n_mels": 6},
    "upsample_rates": [4, 2],
    "upsample_kernel_sizes": [8, 4],
    "upsample_initial_channel": 16,
    "resblock_kernel_sizes": [3],
    "resblock_dilation_sizes": [[1, 3]],
}


def export(model: Model, values: dict[str, Any], path: Path) -> None:
    metadata = make_metadata(recipe.parse(values, "tiny"), model, [], None, {}, {})
    checkpoint.save(path, tensors_for_use(model, model.state_dict()), metadata)


def test_weight_norm_is_folded_and_training_goes_on_from_it(
    tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    trained = HiFiGAN.from_config(TINY)
    assert any("parametrizations" in key for key in trained.state_dict())
    path = tmp_path / "hifigan.safetensors"
    export(trained, tiny_recipe, path)
    used, metadata = checkpoint.load(path)
    assert metadata.model["config"]["weight_norm"] is False
    assert not any("parametrizations" in key for key in used.state_dict())
    x = torch.randn(1, 6, 20)
    with torch.no_grad():
        torch.testing.assert_close(used(x), trained(x))
    values = tiny_recipe | {"init": {"checkpoint": str(path)}}
    further = HiFiGAN.from_config(TINY)
    begin_from(further, recipe.parse(values, "tiny").init)
    assert further.state_dict().keys() == trained.state_dict().keys()
    with torch.no_grad():
        torch.testing.assert_close(further(x), trained(x))


def test_models_without_weight_norm_are_exported_as_they_are(
    tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    model = CleanUNet.from_config(tiny_recipe["model"]["config"])
    path = tmp_path / "cleanunet.safetensors"
    export(model, tiny_recipe, path)
    used, metadata = checkpoint.load(path)
    assert metadata.model == checkpoint.describe_model(model)
    torch.testing.assert_close(used.state_dict(), model.state_dict(), rtol=0, atol=0)


def test_exported_weights_are_the_average(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    trainer = Trainer(recipe.parse(tiny_recipe, "tiny", ["validation.count=0"]), tmp_path, "cpu")
    trainer.run()
    exported = checkpoint.load(tmp_path / "tiny.safetensors")[0].state_dict()
    expected = {key: value.clone() for key, value in trainer.current.average.model.state_dict().items()}
    torch.testing.assert_close(exported, expected, rtol=0, atol=0)
    trained = trainer.current.model.state_dict()
    assert any(not torch.equal(exported[key], trained[key]) for key in trained)


@pytest.mark.parametrize("steps", [2, 4])
def test_a_stopped_run_leaves_its_last_weights(
    tiny_recipe: dict[str, Any], tmp_path: Path, steps: int
) -> None:
    tiny_recipe["validation"]["every"] = 3  # before the stop, or not yet
    trainer = stopped_after(steps, tiny_recipe, tmp_path)
    summary = trainer.run()
    assert summary.interrupted
    model, metadata = checkpoint.load(summary.checkpoint)
    assert metadata.training["steps"] == steps
    assert "valid" not in metadata.metrics
    torch.testing.assert_close(model.state_dict(), trainer.current.average.model.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("begins_with_weights", [False, True])
def test_a_run_stopped_before_its_first_step_exports_no_untrained_weights(
    begins_with_weights: bool, tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    if begins_with_weights:
        train(tiny_recipe, tmp_path / "first", False, "train.steps=1", "validation.count=0")
        tiny_recipe["init"] = {"checkpoint": str(tmp_path / "first" / "tiny.safetensors")}
    trainer = Trainer(recipe.parse(tiny_recipe, "tiny"), tmp_path / "run", "cpu")
    trainer.stop()
    summary = trainer.run()
    assert (summary.step, summary.interrupted) == (0, True)
    assert summary.checkpoint.exists() == begins_with_weights
    assert train(tiny_recipe, tmp_path / "run", True).step == 6
    assert summary.checkpoint.exists()
