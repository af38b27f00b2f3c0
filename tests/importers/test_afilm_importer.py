"""Keras files of AFiLM and TFiLM: the order of layers, an LSTM's equations, refusals."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from audiotool.errors import CheckpointError, DependencyError
from audiotool.importers.afilm import AFiLMImporter
from audiotool.importers.base import import_checkpoint, recognise

h5py = pytest.importorskip("h5py")

PACK = Path(__file__).parents[1] / "data" / "parity" / "afilm"


def keras_lstm(x: Tensor, kernel: Tensor, recurrent: Tensor, bias: Tensor) -> Tensor:
    """Keras' LSTM step by step: (B, T, D) -> (B, T, D), gates input, forget, cell, output."""
    hidden = cell = x.new_zeros(x.shape[0], recurrent.shape[0])
    outputs = []
    for frame in x.unbind(1):
        gates = frame @ kernel + hidden @ recurrent + bias
        i, f, c, o = gates.chunk(4, dim=-1)
        cell = f.sigmoid() * cell + i.sigmoid() * c.tanh()
        hidden = o.sigmoid() * cell.tanh()
        outputs.append(hidden)
    return torch.stack(outputs, dim=1)


def write_tfilm(path: Path, first_number: int = 0) -> dict[str, Tensor]:
    """A TFiLM of one level as Keras saves it, layers numbered from `first_number`."""
    torch.manual_seed(0)
    tensors, inputs = {}, 1
    convolutions = [(1, 4, 5), (4, 6, 3), (6, 8, 5), (8, 2, 9)]
    description = [{"class_name": "InputLayer", "config": {"batch_input_shape": [None, 32, 1]}}]
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights")
        layers = [(f"conv1d{_suffix(first_number + n)}", "conv", n) for n in range(4)]
        layers += [(f"t_fi_lm{_suffix(first_number + n)}", "film", n) for n in range(3)]
        for name, kind, n in layers:
            group = root.create_group(name)
            if kind == "conv":
                inputs, outputs, size = convolutions[n]
                arrays = {"kernel": torch.randn(size, inputs, outputs) * 0.3, "bias": torch.randn(outputs)}
                prefix = name
            else:
                dim = (4, 6, 4)[n]
                arrays = {
                    "kernel": torch.randn(dim, 4 * dim),
                    "recurrent_kernel": torch.randn(dim, 4 * dim),
                    "bias": torch.randn(4 * dim),
                }
                prefix = f"{name}/lstm/lstm_cell"
                description.append({"class_name": "TFiLM", "config": {"block_size": (8, 4, 4)[n]}})
            for leaf, array in arrays.items():
                group[f"{prefix}/{leaf}:0"] = array.numpy()
                tensors[f"{prefix}/{leaf}"] = array
            group.attrs["weight_names"] = [f"{prefix}/{leaf}:0" for leaf in arrays]
        file.attrs["model_config"] = json.dumps({"config": {"layers": description}})
    return tensors


def _suffix(number: int) -> str:
    return f"_{number}" if number else ""


@pytest.mark.parametrize("first_number", [0, 8])
def test_tfilm_from_keras(tmp_path: Path, first_number: int) -> None:
    tensors = write_tfilm(tmp_path / "model.h5", first_number)
    model, _ = import_checkpoint(tmp_path / "model.h5", "tfilm")
    c = model.config
    assert (c.filters, c.kernel_sizes, c.bottleneck_filters) == ((4,), (5,), 6)
    assert (c.patch_length, c.first_block) == (32, 8)
    cell = f"t_fi_lm{_suffix(first_number)}/lstm/lstm_cell"
    names = [f"{cell}/{leaf}" for leaf in ("kernel", "recurrent_kernel", "bias")]
    x = torch.randn(2, 5, 4)
    with torch.no_grad():
        found = model.downs[0].modulation(x)  # type: ignore[index, union-attr]
    assert torch.allclose(found, keras_lstm(x, *(tensors[name] for name in names)), atol=1e-5)
    # Layers 9 and 10 sort by number, not by letters.
    last = tensors[f"conv1d{_suffix(first_number + 3)}/kernel"]
    assert torch.equal(model.output.weight, last.permute(2, 1, 0))  # type: ignore[arg-type, union-attr]


def test_afilm_describes_itself() -> None:
    model, metadata = import_checkpoint(PACK / "model.h5", "afilm")
    assert model.parameter_count == 101_170
    assert (model.config.patch_length, model.config.first_block) == (512, 16)
    assert metadata.task == "super-resolve"


def test_tensors_alone_have_the_published_patch() -> None:
    with pytest.raises(CheckpointError, match="unknown"):
        import_checkpoint(PACK / "official_weights.safetensors", "afilm", None, {"patch": 1})
    model, _ = import_checkpoint(PACK / "official_weights.safetensors", "afilm")
    assert (model.config.patch_length, model.config.first_block, model.config.heads) == (8192, 128, 8)


def test_recognised() -> None:
    assert "afilm" in recognise(AFiLMImporter().read(PACK / "model.h5"))


def test_afilm_is_no_tfilm() -> None:
    with pytest.raises(CheckpointError, match="0 called 't_fi_lm'"):
        import_checkpoint(PACK / "model.h5", "tfilm")


@pytest.mark.parametrize(
    ("dropped", "message"),
    [
        ("a_fi_lm/transformer_block/encoder_layer/dense_5/", "has 5 dense layers and 2 norms"),
        ("a_fi_lm/transformer_block/", "6 called 'a_fi_lm'"),
        ("conv1d/kernel", "has no 'kernel'"),
    ],
)
def test_missing_tensors(tmp_path: Path, dropped: str, message: str) -> None:
    tensors = load_file(PACK / "official_weights.safetensors")
    kept = {k: v for k, v in tensors.items() if not k.startswith(dropped)}
    assert len(kept) < len(tensors)
    save_file(kept, tmp_path / "weights.safetensors")
    with pytest.raises(CheckpointError, match=message):
        import_checkpoint(tmp_path / "weights.safetensors", "afilm")


@pytest.mark.parametrize("name", ["model.h5", "weights.safetensors"])
def test_damaged_files(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"no such format")
    with pytest.raises(CheckpointError, match="is not a"):
        import_checkpoint(tmp_path / name, "afilm")


def test_without_h5py(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(DependencyError, match=r"audiotool-speech\[keras\]"):
        import_checkpoint(PACK / "model.h5", "afilm")
