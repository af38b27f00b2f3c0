"""Parallel WaveGAN, WaveGlow and WaveFlow files: statistics, older forms, what is refused."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn
from torch.nn.utils.weight_norm import WeightNorm

from audiotool.errors import CheckpointError, DependencyError
from audiotool.importers.base import IMPORTERS, import_checkpoint, recognise
from audiotool.importers.torch_file import read_torch
from audiotool.importers.waveflow import read_paddle
from audiotool.models.waveglow import WaveGlow

PACKS = Path(__file__).parents[1] / "data" / "parity"
PWG = PACKS / "parallel_wavegan" / "v1_small"
WAVEGLOW = PACKS / "waveglow" / "small"
WAVEFLOW = PACKS / "waveflow"


class RunsCode:
    """Pickles as a call that makes a folder: proof that it ran."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


def with_config(folder: Path, target: Path, change: dict[str, Any], section: str | None = None) -> Path:
    """Copy a configuration with some values changed."""
    source = next(p for p in folder.iterdir() if p.name.startswith("config"))
    values = yaml.safe_load(source.read_text())
    (values if section is None else values[section]).update(change)
    path = target / source.name
    path.write_text(json.dumps(values) if source.suffix == ".json" else yaml.safe_dump(values))
    return path


# Parallel WaveGAN


@pytest.mark.parametrize("form", ["npy", "h5"])
@pytest.mark.parametrize("beside", ["weights", "configuration"])
def test_statistics_beside_the_files_are_taken_up(
    tmp_path: Path, form: str, beside: str, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(PWG, tmp_path, dirs_exist_ok=True)
    mean, scale = np.arange(20.0), np.arange(20.0) + 1
    if form == "npy":
        np.save(tmp_path / "stats.npy", np.stack((mean, scale)))
    else:
        h5py = pytest.importorskip("h5py")
        with h5py.File(tmp_path / "stats.h5", "w") as file:
            file["mean"], file["scale"] = mean, scale
    checkpoint, config = tmp_path / "checkpoint-400000steps.pkl", tmp_path / "config.yml"
    if beside == "configuration":
        checkpoint = PWG / checkpoint.name
    model, metadata = import_checkpoint(checkpoint, "parallel-wavegan", config)
    assert f"Mean and scale of the mels are from stats.{form} (SHA-256 " in metadata.notes
    assert not caplog.records
    assert model.mean.tolist() == mean.tolist()  # type: ignore[operator]
    assert model.scale.tolist() == scale.tolist()  # type: ignore[operator]
    plain, metadata = import_checkpoint(PWG / checkpoint.name, "parallel-wavegan", PWG / "config.yml")
    assert plain.scale.eq(1).all()  # type: ignore[operator]
    assert metadata.notes.endswith("Without statistics: it takes mels that are normalised already.")
    assert caplog.messages[0].startswith(f"no stats.npy or stats.h5 in {PWG}: this network will take mels")


def test_statistics_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(PWG, tmp_path, dirs_exist_ok=True)
    checkpoint, config = tmp_path / "checkpoint-400000steps.pkl", tmp_path / "config.yml"
    (tmp_path / "stats.h5").write_bytes(b"not HDF5")
    with pytest.raises(CheckpointError, match=r"stats\.h5 does not hold a mean"):
        import_checkpoint(checkpoint, "parallel-wavegan", config)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(DependencyError, match=r'pip install "audiotool-speech\[keras\]"'):
        import_checkpoint(checkpoint, "parallel-wavegan", config)
    (tmp_path / "stats.npy").write_bytes(b"not numpy")
    with pytest.raises(CheckpointError, match=r"stats\.npy does not hold a mean"):
        import_checkpoint(checkpoint, "parallel-wavegan", config)
    for mean, scale in ((0.0, 0.0), (np.nan, 1.0), (0.0, np.inf)):
        np.save(tmp_path / "stats.npy", np.stack((np.full(20, mean), np.full(20, scale))))
        with pytest.raises(
            CheckpointError, match=r"stats\.npy: a mean is not finite, or a scale not above 0"
        ):
            import_checkpoint(checkpoint, "parallel-wavegan", config)


@pytest.mark.parametrize("change", [{"fmin": 0}, {"fmin": None, "global_gain_scale": 0.0}])
def test_other_spellings_of_a_value(tmp_path: Path, change: dict[str, Any]) -> None:
    config = with_config(PWG, tmp_path, change)
    model, _ = import_checkpoint(PWG / "checkpoint-400000steps.pkl", "parallel-wavegan", config)
    assert model.mel.fmin == 0.0


@pytest.mark.parametrize(
    ("change", "section", "message"),
    [
        ({"generator_type": "MelGANGenerator"}, None, "generator_type='MelGANGenerator' is not supported"),
        ({"out_channels": 4}, "generator_params", "out_channels=4 is not supported, only 1"),
        ({"layer": 4}, "generator_params", "unknown official options: layer; did you mean 'layers'"),
        ({"aux_channels": 21}, "generator_params", "aux_channels 21 is not num_mels 20"),
        ({"window": "hamming"}, None, "window='hamming' is not supported"),
        ({"upsample_net": "UpsampleNetwork"}, "generator_params", "upsample_net UpsampleNetwork"),
        ({"layers": 4}, "generator_params", "do not fit parallel-wavegan"),
    ],
)
def test_other_generators_are_refused(
    tmp_path: Path, change: dict[str, Any], section: str | None, message: str
) -> None:
    config = with_config(PWG, tmp_path, change, section)
    with pytest.raises(CheckpointError, match=message):
        import_checkpoint(PWG / "checkpoint-400000steps.pkl", "parallel-wavegan", config)


# WaveGlow


@pytest.fixture
def official_module() -> Iterator[dict[str, type]]:
    """Classes under the official module's name, as the released file was pickled with."""
    module = types.ModuleType("glow")
    classes = {}
    for name in ("WaveGlow", "WN", "Invertible1x1Conv"):
        classes[name] = type(name, (nn.Module,), {"__module__": "glow", "__qualname__": name})
        setattr(module, name, classes[name])
    sys.modules["glow"] = module
    yield classes
    sys.modules.pop("glow", None)


def as_module(tensors: dict[str, Tensor], classes: dict[str, type]) -> nn.Module:
    """A module of official classes that holds these tensors."""
    model = classes["WaveGlow"]()
    for key, value in tensors.items():
        *path, field = key.split(".")
        parent = model
        for n, part in enumerate(path):
            if part not in parent._modules:
                kind: type | None = {"WN": nn.ModuleList, "convinv": nn.ModuleList}.get(part)
                if n == 1:
                    kind = classes["WN" if path[0] == "WN" else "Invertible1x1Conv"]
                elif part.endswith("layers"):
                    kind = nn.ModuleList
                parent.add_module(part, kind() if kind else nn.Conv1d(1, 1, 1))
                parent._modules[part]._parameters.clear()
            parent = parent._modules[part]
        parent._parameters[field] = nn.Parameter(value)
        if field == "weight_v":
            parent._forward_pre_hooks[0] = WeightNorm("weight", 0)
    return model


@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_module_is_read(tmp_path: Path, official_module: dict[str, type], zipped: bool) -> None:
    file = WAVEGLOW / "waveglow_1_state_dict.pt"
    tensors = read_torch(file)["model"]
    path = tmp_path / "waveglow_256channels.pt"
    module = as_module(tensors, official_module)
    torch.save({"model": module, "iteration": 1}, path, _use_new_zipfile_serialization=zipped)
    del sys.modules["glow"]
    model, _ = import_checkpoint(path, "waveglow", WAVEGLOW / "config.json")
    expected, _ = import_checkpoint(file, "waveglow", WAVEGLOW / "config.json")
    for key, value in expected.state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key


def test_separate_layers_of_early_files_are_merged(tmp_path: Path) -> None:
    file = WAVEGLOW / "waveglow_1_state_dict.pt"
    expected, _ = import_checkpoint(file, "waveglow")
    assert isinstance(expected, WaveGlow)
    early: dict[str, Tensor] = {}
    width, layers = expected.config.n_channels, expected.config.n_layers
    for key, value in expected.state_dict().items():
        prefix, _, rest = key.partition(".res_skip_layers.")
        if rest:
            layer, field = rest.split(".")
            if int(layer) < layers - 1:
                early[f"{prefix}.res_layers.{layer}.{field}"] = value[:width]
            early[f"{prefix}.skip_layers.{layer}.{field}"] = value[-width:]
        elif ".cond_layer." in key:
            for n, piece in enumerate(value.chunk(layers)):
                early[key.replace(".cond_layer.", f".cond_layers.{n}.")] = piece
        else:
            early[key] = value
    path = tmp_path / "old.pt"
    torch.save({"state_dict": {f"module.{k}": v for k, v in early.items()}}, path)
    model, metadata = import_checkpoint(path, "waveglow")
    assert model.mel.hop_length == 256  # type: ignore[union-attr]
    assert metadata.licence == "BSD-3-Clause"
    for key, value in expected.state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key


def test_something_else_under_model(tmp_path: Path) -> None:
    torch.save({"model": [1, 2]}, tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="neither a state dict nor a pickled module"):
        import_checkpoint(tmp_path / "list.pt", "waveglow")
    torch.save({"model": {"a": torch.zeros(1)}}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=r"no 'upsample\.weight'"):
        import_checkpoint(tmp_path / "other.pt", "waveglow")


@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_modules_run_no_code(tmp_path: Path, zipped: bool) -> None:
    path, proof = tmp_path / "waveglow.pt", tmp_path / "proof"
    torch.save({"model": RunsCode(proof)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"(posix|nt)\.mkdir.*refused"):
        import_checkpoint(path, "waveglow")
    assert not proof.exists()


# WaveFlow


def test_paddle_files_run_no_code(tmp_path: Path) -> None:
    path, proof = tmp_path / "step-1.pdparams", tmp_path / "proof"
    path.write_bytes(pickle.dumps({"decoder.0.input_proj.bias": RunsCode(proof)}))
    with pytest.raises(CheckpointError, match=r"refers to (posix|nt)\.mkdir.*refused"):
        import_checkpoint(path, "waveflow", WAVEFLOW / "parakeet_h8" / "config.json")
    assert not proof.exists()


def test_the_ending_of_a_paddle_file_has_any_case(tmp_path: Path) -> None:
    path = tmp_path / "STEP-1.PDPARAMS"
    shutil.copy(WAVEFLOW / "parakeet_h8" / "step-1.pdparams", path)
    model, _ = import_checkpoint(path, "waveflow", WAVEFLOW / "parakeet_h8" / "config.json")
    assert model.name == "waveflow"


@pytest.mark.parametrize("content", [b"", b"hello", pickle.dumps([1]), pickle.dumps({})[:-1]])
def test_invalid_paddle_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "step-1.pdparams"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"step-1\.pdparams"):
        read_paddle(path)


def test_older_pickles_of_arrays_are_read(tmp_path: Path) -> None:
    path = tmp_path / "old.pdparams"
    path.write_bytes(
        pickle.dumps({"a": np.arange(3.0), "StructuredToParameterName@@": {"a": "b"}}, protocol=2)
    )
    assert read_paddle(path)["a"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("pack", "file", "section", "change", "message"),
    [
        ("h8_r16", "waveflow_5000", "waveflow_config", {"coupling_type": "other"}, "coupling_type 'other'"),
        ("h8_r16", "waveflow_5000", "waveflow_config", {"n_layer": 3}, "do not fit waveflow"),
        ("parakeet_h8", "step-1.pdparams", "model", {"n_group": 4}, "n_group 4 is not one of 8, 16"),
    ],
)
def test_other_waveflows_are_refused(
    tmp_path: Path, pack: str, file: str, section: str, change: dict[str, Any], message: str
) -> None:
    config = with_config(WAVEFLOW / pack, tmp_path, change, section)
    with pytest.raises(CheckpointError, match=message):
        import_checkpoint(WAVEFLOW / pack / file, "waveflow", config)


# Recognition


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (PWG / "checkpoint-400000steps.pkl", "parallel-wavegan"),
        (WAVEGLOW / "waveglow_1_state_dict.pt", "waveglow"),
        (WAVEFLOW / "h8_r16" / "waveflow_5000", "waveflow"),
    ],
)
def test_files_are_recognised(path: Path, name: str) -> None:
    assert recognise(read_torch(path)) == [name]
    if name != "waveglow":
        with pytest.raises(CheckpointError, match="--config"):
            import_checkpoint(path, name)
    assert IMPORTERS.get(name).licence != IMPORTERS.base.licence
