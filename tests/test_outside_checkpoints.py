"""Checkpoints whose configuration is damaged or asks for too much: one sentence, at once, with the key."""

from __future__ import annotations

import dataclasses
import json
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import audiotool
from audiotool import checkpoint
from audiotool.configuration import build_config
from audiotool.errors import CheckpointError, UnfitCheckpoint, UnknownCheckpoint
from audiotool.importers.base import import_checkpoint
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
        ({"sample_rate": 8000}, "for 8000 Hz, its band-split-gru works at 16000 Hz"),
        ({"sample_rate": -1}, "sample_rate: found -1"),
        ({"sample_rate": 16000.5}, "sample_rate: found 16000.5"),
        ({"model": {"name": NAME}}, "model.config: is missing"),
        ({"model": {"name": ["a"], "config": {}}}, "model.name: found"),
        ({"model": {"name": "none", "config": {}}}, "holds a model 'none' that is not installed here"),
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


@pytest.mark.parametrize("open_it", [checkpoint.load, checkpoint.stems_of])
def test_a_configuration_that_is_refused_names_its_file(
    tmp_path: Path, small: tuple[Any, dict[str, Any]], open_it: Callable[[Path], object]
) -> None:
    tensors, metadata = small
    metadata["model"]["config"]["dim"] = -1
    path = write(tmp_path / "a.safetensors", tensors, metadata)
    with pytest.raises(
        CheckpointError, match=r"a\.safetensors has .*dim: found -1, .*another version; get it again$"
    ):
        open_it(path)


@pytest.mark.parametrize("length", [9, 100, 5000, -1])
def test_a_file_that_is_cut_off_is_called_so(tmp_path: Path, small: tuple[Any, Any], length: int) -> None:
    path = write(tmp_path / "a.safetensors", *small)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(UnfitCheckpoint, match=r"a\.safetensors is cut off or damaged \(.*\): get it again$"):
        checkpoint.read_metadata(path)


@pytest.mark.parametrize("name", [None, 3, b"denoise", ["denoise"], torch.zeros((9, 9))])
@pytest.mark.parametrize("load", [audiotool.load, audiotool.load_model])
def test_what_is_neither_a_name_nor_a_path(load: Callable[[Any], object], name: Any) -> None:
    with pytest.raises(UnknownCheckpoint, match=r"^a checkpoint is a name or a path, got .{,100}$"):
        load(name)


def test_a_name_that_no_file_can_have() -> None:
    with pytest.raises(UnknownCheckpoint, match="it is neither a file nor one of"):
        audiotool.load("a" * 5000)


def test_a_task_that_the_model_does_not_serve(tmp_path: Path, small: tuple[Any, dict[str, Any]]) -> None:
    tensors, metadata = small
    path = write(tmp_path / "a.safetensors", tensors, {**metadata, "task": "vocode"})
    with pytest.raises(CheckpointError, match="for vocode, its band-split-gru works for denoise"):
        audiotool.load(path, "cpu")


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, "9" * 5000, '{"a": 1e999}'])
def test_text_that_is_no_metadata(tmp_path: Path, small: tuple[Any, Any], text: str) -> None:
    path = write(tmp_path / "a.safetensors", small[0], text)
    with pytest.raises(CheckpointError, match=r"a\.safetensors (does not say which|has checkpoint format)"):
        checkpoint.load(path)


@pytest.mark.parametrize("packing", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_archive_is_no_checkpoint(tmp_path: Path, packing: int) -> None:
    path = tmp_path / "a.safetensors"
    with zipfile.ZipFile(path, "w", packing) as archive:
        archive.writestr("a/data.pkl", bytes(range(256)) * 40)
    content = bytearray(path.read_bytes())
    # The packed bytes lie behind the local head, which has 30 bytes and the name.
    start = 30 + len("a/data.pkl") + (9 if packing == zipfile.ZIP_LZMA else 0)
    content[start : start + 20] = b"\xff" * 20
    path.write_bytes(content)
    with pytest.raises(UnfitCheckpoint, match=r"a\.safetensors is not a safetensors file"):
        checkpoint.load(path)
    with pytest.raises(CheckpointError, match=r"a\.safetensors is no"):
        import_checkpoint(path, "cleanunet")


def test_a_network_larger_than_the_budget() -> None:
    with pytest.raises(CheckpointError, match=r"parameters, at most 1000000000 are allowed"):
        MODELS.get("cleanunet").from_config({"channels_h": 16_384, "max_channels": 16_384})


@pytest.mark.parametrize("name", MODELS.all())
def test_an_outline_takes_no_memory(name: str) -> None:
    model_class = MODELS.get(name)
    with torch.device("meta"):
        outline = model_class(build_config(model_class.config_class, model_class.small, ""))
    assert all(parameter.is_meta for parameter in outline.parameters())


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("band-split-gru", {"hop_length": 7}, "hop_length 7 must divide n_fft 512"),
        ("band-split-gru", {"hop_length": 512}, "hop_length 512 must be at most half of a window of 512"),
        ("spectral-convnext", {"n_fft": 511}, "n_fft must be even, found 511"),
        ("personalised-transformer", {"hop_length": 300}, "hop_length 300 must be at most half"),
        ("personalised-transformer", {"heads": 3}, "heads 3 must divide dim"),
        ("fastenhancer", {"hop_length": 300}, "hop_length 300 must be at most half"),
        ("deepfilternet3", {"hop_length": 7}, "hop_length 7 must"),
        ("gtcrn", {"hop_length": 300}, "hop_length 300 must be at most half"),
        ("gtcrn", {"low_bins": 31}, r"low_bins \+ erb_bands must be"),
        ("gtcrn", {"channels": 15}, "channels must be a multiple of 4"),
        ("mp-senet", {"win_length": 100}, "hop_length 100 must be at most half of a window of 100"),
        ("mambattention", {"win_length": 500}, "win_length 500 must not exceed n_fft 400"),
        ("ca-dense-unet", {"n_fft": 4}, "hop_length .* must be at most half of a window of 4"),
        ("vocos", {"n_fft": 3}, "n_fft must be even, found 3"),
        ("nsf", {"blstm_dim": 33}, "blstm_dim must be even"),
        ("periodwave", {"embedding_dim": 9}, "embedding_dim must be even"),
        ("cleanunet", {"n_layers": 100}, "n_layers 100 makes steps of more than"),
        ("hybrid-demucs", {"dconv_comp": 9}, "dconv_comp 9 leaves nothing of 8 channels"),
    ],
)
def test_values_that_do_not_go_together(name: str, change: dict[str, Any], message: str) -> None:
    model_class = MODELS.get(name)
    with pytest.raises(CheckpointError, match=message):
        model_class.outline({**model_class.small, **change})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda t: t * float("nan"), "holds NaN or infinity"),
        (lambda t: t.index_fill(0, torch.tensor([0]), float("inf")), "holds NaN or infinity"),
        (lambda t: t.to(torch.int32), "holds int32 where band-split-gru has float32"),
        (lambda t: t.to(torch.bool), "holds bool where"),
        (lambda t: t.to(torch.complex64), "holds complex64 where"),
    ],
)
def test_invalid_weights(
    tmp_path: Path, small: tuple[Any, dict[str, Any]], value: Callable[[Any], Any], message: str
) -> None:
    tensors, metadata = small
    key = next(iter(tensors))
    path = write(tmp_path / "a.safetensors", {**tensors, key: value(tensors[key])}, metadata)
    with pytest.raises(CheckpointError, match=f"{key} {message}"):
        checkpoint.load(path)


def test_weights_of_less_precision_are_taken(tmp_path: Path, small: tuple[Any, dict[str, Any]]) -> None:
    tensors, metadata = small
    half = {key: t.half() if t.is_floating_point() else t for key, t in tensors.items()}
    assert checkpoint.load(write(tmp_path / "a.safetensors", half, metadata))[0].name == NAME


def test_names_of_stems_need_no_weights(
    tmp_path: Path, small: tuple[Any, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.safetensors", *small)
    monkeypatch.setattr(checkpoint, "load", None)
    assert checkpoint.stems_of(path) == ("speech",)
