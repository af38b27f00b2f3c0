"""DTLN: released weights give the official outputs; both official layouts are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from kit.learning import l1, learn
from kit.onnx_files import rename_tensor
from kit.released import ROOT, error, load, needs_released
from torch import Tensor

from audiotool.checkpoint import sha256
from audiotool.errors import CheckpointError
from audiotool.importers.base import import_checkpoint
from audiotool.importers.onnx_file import LSTM_ORDER, reorder_gates
from audiotool.models.dtln import DTLN

onnx = pytest.importorskip("onnx")

TINY = {**DTLN.small, "hop_length": 128, "n_fft": 512}
KINDS = ("kernel", "recurrent_kernel", "bias")


@needs_released
def test_official_outputs_of_released_weights() -> None:
    model, metadata = import_checkpoint(ROOT / "dtln" / "model_1.onnx", "dtln")
    inputs, outputs = load("inputs_16k.npz"), load("dtln/io.npz")
    assert metadata.licence == "MIT"
    assert model.delay == 384
    for name in ("s0", "s5", "s10"):
        x, y = inputs[f"x.{name}"], outputs[f"y.{name}"]
        with torch.inference_mode():
            found = model.process(x[None, None])[0, 0]
        # The official script is late by 384 samples, and writes zeros for what fills no block.
        assert error(found, y[384 : len(y) - 384 - len(y) % 128]) <= 1e-5


def tiny(**values: Any) -> DTLN:
    torch.manual_seed(0)
    return DTLN.from_config({**TINY, **values}).eval()  # type: ignore[return-value]


def keras_lstm(tensors: dict[str, Tensor], place: str) -> dict[str, Tensor]:
    """Return one bias, as Keras has it, the sum of the model's two."""
    bias = tensors[f"{place}.bias_ih_l0"] + tensors[f"{place}.bias_hh_l0"]
    matrices = (tensors[f"{place}.weight_ih_l0"].T, tensors[f"{place}.weight_hh_l0"].T)
    return dict(zip(KINDS, (*matrices, bias), strict=True))


def node(kind: str, *inputs: str) -> Any:
    return onnx.helper.make_node(kind, ["x", *inputs], [f"y_{kind}_{'_'.join(inputs)[:40]}"])


def write_graph(path: Path, nodes: list[Any], tensors: dict[str, Tensor]) -> Path:
    stored = [onnx.numpy_helper.from_array(v.detach().contiguous().numpy(), k) for k, v in tensors.items()]
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph(nodes, "graph", [], [], stored)), str(path))
    return path


def official_files(folder: Path, model: DTLN) -> Path:
    """The two graphs: LSTM operations in the first, unrolled ones in the second."""
    w = dict(model.state_dict())
    back = tuple(LSTM_ORDER.index(n) for n in range(4))
    first: dict[str, Tensor] = {"dense_2/kernel:0": w["first.dense.weight"].T}
    first["dense_2/bias:0"] = w["first.dense.bias"]
    nodes = []
    for n in (0, 1):
        keys = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        parts = [reorder_gates(w[f"first.lstms.{n}.{key}_l0"], back) for key in keys]
        names = [f"lstm_{n + 4}_{letter}" for letter in "WRB"]
        values = (parts[0][None], parts[1][None], torch.cat(parts[2:])[None])
        first.update(zip(names, values, strict=True))
        nodes.append(node("LSTM", *names))
    write_graph(folder / "model_1.onnx", [*nodes, node("MatMul", "dense_2/kernel:0")], first)

    stage = "model_2/instant_layer_normalization_1"
    second = {
        "conv1d_2/kernel:0": w["encoder.weight"],
        "conv1d_3/kernel:0": w["decoder.weight"][:, 0].T[..., None],
        "model_2/dense_3/BiasAdd/ReadVariableOp/resource:0": w["second.dense.bias"],
        "model_2/dense_3/Tensordot/Reshape_1:0": w["second.dense.weight"].T,
        f"{stage}/mul/ReadVariableOp/resource:0": w["second.norm.weight"],
        f"{stage}/add_1/ReadVariableOp/resource:0": w["second.norm.bias"],
    }
    # Recurrent matrices come first in an unrolled graph.
    matrices: list[str] = []
    for n in (1, 0):
        roles = keras_lstm(w, f"second.lstms.{n}")
        for role, operation in zip(KINDS, ("MatMul", "MatMul_1", "BiasAdd"), strict=True):
            name = f"model_2/lstm_{n + 6}/{operation}/ReadVariableOp/resource:0"
            second[name] = roles[role]
            matrices += [name] if role != "bias" else []
    used = [*reversed(matrices), "model_2/dense_3/Tensordot/Reshape_1:0"]
    nodes = [node("Conv", "conv1d_2/kernel:0"), *(node("MatMul", name) for name in used)]
    return write_graph(folder / "model_2.onnx", [*nodes, node("Conv", "conv1d_3/kernel:0")], second)


def keras_file(path: Path, model: DTLN) -> Path:
    w = dict(model.state_dict())
    layers: dict[str, dict[str, Tensor]] = {
        "conv1d": {"kernel": w["encoder.weight"][..., 0].T[None]},
        "conv1d_1": {"kernel": w["decoder.weight"][:, 0][None]},
    }
    places = ("first.lstms.0", "first.lstms.1", "second.lstms.0", "second.lstms.1")
    for n, place in enumerate(places):
        layers[f"lstm_{n}" if n else "lstm"] = keras_lstm(w, place)
    for n, place in enumerate(("first", "second")):
        dense = {"kernel": w[f"{place}.dense.weight"].T, "bias": w[f"{place}.dense.bias"]}
        layers[f"dense_{n}" if n else "dense"] = dense
        if f"{place}.norm.weight" in w:
            name = f"instant_layer_normalization_{n}" if n else "instant_layer_normalization"
            layers[name] = {"gamma": w[f"{place}.norm.weight"], "beta": w[f"{place}.norm.bias"]}
    with h5py.File(path, "w") as file:
        for layer, tensors in layers.items():
            names = []
            for role, value in tensors.items():
                names.append(f"{layer}/{role}:0")
                file[f"{layer}/{layer}/{role}:0"] = np.asarray(value.detach())
            file[layer].attrs["weight_names"] = [n.encode() for n in names]
    return path


def assert_same(path: Path, source: DTLN) -> None:
    model, _ = import_checkpoint(path, "dtln")
    assert model.config.normalises == source.config.normalises
    x = 0.1 * torch.randn(1, 1, 3000)
    with torch.inference_mode():
        found, expected = model.process(x), source.process(x)
    assert (found - expected).abs().max() <= 1e-6 * expected.abs().max()


def test_official_graphs(tmp_path: Path) -> None:
    source = tiny()
    assert_same(official_files(tmp_path, source), source)
    assert_same(tmp_path / "model_1.onnx", source)


def test_both_stages_are_named_with_their_hashes(tmp_path: Path) -> None:
    official_files(tmp_path, tiny())
    first, second = (tmp_path / f"model_{n}.onnx" for n in (1, 2))
    named = [f"{file.name} (SHA-256 {sha256(file)})" for file in (first, second)]
    for given in (first, second):
        notes = import_checkpoint(given, "dtln")[1].notes
        assert notes == f"Imported from {' and '.join(named)}, published at github.com/breizhn/DTLN."


def test_a_keras_file_of_another_name(tmp_path: Path) -> None:
    source = tiny()
    assert_same(keras_file(tmp_path / "DTLN.hdf5", source), source)


@pytest.mark.parametrize("normalises", [False, True])
def test_official_keras_file(tmp_path: Path, normalises: bool) -> None:
    source = tiny(normalises=normalises)
    assert_same(keras_file(tmp_path / "DTLN.h5", source), source)


def test_a_missing_stage_is_named(tmp_path: Path) -> None:
    official_files(tmp_path, tiny())
    (tmp_path / "model_2.onnx").unlink()
    with pytest.raises(CheckpointError, match=r"model_2\.onnx: no such file: model_1\.onnx is the first"):
        import_checkpoint(tmp_path / "model_1.onnx", "dtln")
    alone = (tmp_path / "model_1.onnx").rename(tmp_path / "own_2.onnx")
    with pytest.raises(CheckpointError, match=r"own_1\.onnx: no such file: own_2\.onnx is the second"):
        import_checkpoint(alone, "dtln")
    alone.rename(tmp_path / "model_1.onnx")
    (tmp_path / "model_1.onnx").rename(tmp_path / "whole.onnx")
    with pytest.raises(CheckpointError, match=r"give model_1\.onnx, with model_2\.onnx beside it"):
        import_checkpoint(tmp_path / "whole.onnx", "dtln")


def test_other_graphs_are_refused(tmp_path: Path) -> None:
    official_files(tmp_path, tiny())
    (tmp_path / "model_1.onnx").write_bytes((tmp_path / "model_2.onnx").read_bytes())
    write_graph(tmp_path / "model_2.onnx", [node("MatMul", "a")], {"a": torch.zeros(2, 2)})
    with pytest.raises(CheckpointError, match="stage 2: 0 LSTMs, 1 matrices and 0 biases are not what DTLN"):
        import_checkpoint(tmp_path / "model_1.onnx", "dtln")


@pytest.mark.parametrize(
    ("file", "name", "message"),
    [
        ("model_1.onnx", "lstm_4_W", "has no tensor 'lstm_4_W', which its graph uses"),
        ("model_1.onnx", "dense_2/kernel:0", "has no tensor 'dense_2/kernel:0'"),
        ("model_2.onnx", "conv1d_2/kernel:0", "has 1 convolutions, DTLN has 2"),
        (
            "model_2.onnx",
            "model_2/lstm_6/BiasAdd/ReadVariableOp/resource:0",
            "LSTM of this file has no 'bias'",
        ),
    ],
)
def test_a_tensor_of_another_name_is_named(tmp_path: Path, file: str, name: str, message: str) -> None:
    official_files(tmp_path, tiny())
    rename_tensor(tmp_path / file, name)
    with pytest.raises(CheckpointError, match=message):
        import_checkpoint(tmp_path / "model_1.onnx", "dtln")


def test_parameters_of_the_released_network() -> None:
    with torch.device("meta"):
        assert DTLN.from_config({}).parameter_count == 988_801


def test_training_helps() -> None:
    torch.manual_seed(0)
    model = DTLN.from_config({**DTLN.small, "normalises": True}).train()
    target = torch.sin(torch.arange(1600) / 6)[None, None] * 0.3
    batch = {"input": target + 0.3 * torch.randn(2, 1, 1600), "target": target.expand(2, -1, -1)}
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    losses = learn(model, batch, l1, optimiser, 20)
    assert losses[-1] < 0.8 * losses[0]
