"""Checkpoints whose configuration is damaged or asks for too much: one sentence, at once, with the key."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from audiotool import checkpoint
from audiotool.configuration import build_config
from audiotool.errors import CheckpointError
from audiotool.models.registry import MODELS

NAME = "band-split-gru"


@pytest.fixture
def small() -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Weights and metadata of a small denoiser."""
    model = MODELS.get(NAME).from_config(MODELS.get(NAME).small)
    metadata = checkpoint.Metadata("denoise", checkpoint.describe_model(model), model.sample_rate)
    return model.state_dict(), dataclasses.asdict(metadata)


def write(path: Path, tensors: dict[str, torch.Tensor], metadata: Any) -> Path:
    text = metadata if isinstance(metadata, str) else json.dumps(metadata)
    save_file(tensors, path, metadata={"audiotool": text})
    return path


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("dim", 100_000, r"band-split-gru: dim: found 100000, should be less than or equal to 16384"),
        ("dim", 16_384, "of another shape"),
        ("layers", 10**9, "layers: found 1000000000, should be less than"),
        ("layers", 200, "missing"),
        ("dim", "40", "dim: found '40', should be a valid integer"),
        ("dim", True, "dim: found True, should be a valid integer"),
        ("dim", -1, "dim: found -1, should be greater"),
        ("dim", None, "dim: found None"),
        ("dim", [40], r"dim: found \(40,\)"),
        ("level_seconds", float("nan"), "level_seconds: found nan, should be a finite number"),
        ("level_seconds", 0, "level_seconds: found 0, should be greater than 0"),
        ("bands", [[16, 4, 4]], r"bands\.0"),
        ("bands", [[1, 1]] * 300, "a list has 300 entries, at most 256 are allowed"),
        ("stems", ["../../etc/passwd"], r"stems\.0: found '../../etc/passwd'"),
        ("stems", [], "stems: found .*should have at least 1 item"),
        ("dimm", 40, "dimm: unknown key; did you mean 'dim'"),
    ],
)
def test_a_value_that_does_not_fit(
    tmp_path: Path, small: tuple[Any, dict[str, Any]], key: str, value: Any, message: str
) -> None:
    tensors, metadata = small
    metadata["model"]["config"][key] = value
    path = write(tmp_path / "a.safetensors", tensors, metadata)
    begin = time.process_time()
    with pytest.raises(CheckpointError, match=message):
        checkpoint.load(path)
    assert time.process_time() - begin < 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": 3}, "task: found 3"),
        ({"task": "vocode"}, "for vocode at 16000 Hz, its band-split-gru works for denoise"),
        ({"sample_rate": 8000}, "for denoise at 8000 Hz"),
        ({"sample_rate": -1}, "sample_rate: found -1"),
        ({"sample_rate": 16000.5}, "sample_rate: found 16000.5"),
        ({"model": {"name": NAME}}, "model.config: is missing"),
        ({"model": {"name": ["a"], "config": {}}}, "model.name: found"),
        ({"model": {"name": "none", "config": {}}}, "no model is called 'none'"),
        ({"sources": "LJSpeech"}, "sources: found 'LJSpeech'"),
        ({"sources": [1]}, r"sources\.0: found 1"),
        ({"metrics": None}, "metrics: found None"),
        ({"format": 2}, "has checkpoint format 2"),
    ],
)
def test_metadata_that_is_not_metadata(
    tmp_path: Path, small: tuple[Any, dict[str, Any]], change: dict[str, Any], message: str
) -> None:
    tensors, metadata = small
    path = write(tmp_path / "a.safetensors", tensors, {**metadata, **change})
    with pytest.raises(CheckpointError, match=message):
        checkpoint.load(path)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, "9" * 5000, '{"a": 1e999}'])
def test_text_that_is_no_metadata(tmp_path: Path, small: tuple[Any, Any], text: str) -> None:
    path = write(tmp_path / "a.safetensors", small[0], text)
    with pytest.raises(CheckpointError, match=r"a\.safetensors (does not say which|has checkpoint format)"):
        checkpoint.load(path)


def test_a_network_larger_than_the_budget() -> None:
    with pytest.raises(CheckpointError, match=r"parameters, at most 1000000000 are allowed"):
        MODELS.get("cleanunet").from_config({"channels_h": 16_384, "max_channels": 16_384})


@pytest.mark.parametrize("name", MODELS.all())
def test_an_outline_takes_no_memory(name: str) -> None:
    model_class = MODELS.get(name)
    with torch.device("meta"):
        outline = model_class(build_config(model_class.config_class, model_class.small, ""))
    assert all(parameter.is_meta for parameter in outline.parameters())
