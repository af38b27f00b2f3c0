"""scripts/reconfigure_checkpoint.py: other settings, the same weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from kit.checkpoints import save_model

from audiotool import checkpoint
from audiotool.errors import CheckpointError
from audiotool.models.registry import MODELS


def test_a_setting_changes_and_the_weights_stay(run: Callable[..., str], tmp_path: Path) -> None:
    path, output = tmp_path / "one.safetensors", tmp_path / "other.safetensors"
    model = MODELS.get("band-split-gru").from_config(MODELS.get("band-split-gru").small)
    save_model(path, model, "denoise")
    run("reconfigure_checkpoint", output, path, "--set", "level_seconds=1.5")
    changed, metadata = checkpoint.load(output)
    assert metadata.model["config"]["level_seconds"] == 1.5
    assert (metadata.metrics, metadata.commands) == ({}, [])
    for name, tensor in model.state_dict().items():
        assert torch.equal(changed.state_dict()[name], tensor)


def test_other_tensors_are_refused(run: Callable[..., str], tmp_path: Path) -> None:
    path, output = tmp_path / "one.safetensors", tmp_path / "other.safetensors"
    model = MODELS.get("band-split-gru").from_config(MODELS.get("band-split-gru").small)
    save_model(path, model, "denoise")
    with pytest.raises(CheckpointError):
        run("reconfigure_checkpoint", output, path, "--set", "layers=3")
    assert not output.exists()
