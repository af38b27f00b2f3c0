"""A graph that takes its weights from the checkpoint beside it, so that nobody keeps them twice.

ONNX lets a tensor's values lie in another file, at an offset: a safetensors file is such a file. Half
precision is widened in the graph, once, as it is loaded. Tables of cosines are computed then, too.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from audiotool.exporting.real_pairs import tables

if TYPE_CHECKING:
    import onnx

TYPES = {"F32": (1, np.float32), "F16": (10, np.float16)}
"""A safetensors type as ONNX's number of it, and as numpy's."""

SMALL = 64
"""Values that are not worth a reference."""


def share_weights(model: onnx.ModelProto, checkpoint: Path) -> None:
    """Replace each initializer that is a tensor of the checkpoint, or a Fourier transform's table."""
    from onnx import numpy_helper

    stored = _stored(checkpoint)
    graph, kept = model.graph, list[Any]()
    nodes: list[Any] = []
    for initializer in graph.initializer:
        values = numpy_helper.to_array(initializer)
        name = next((name for name in stored if initializer.name.endswith(f".{name}")), None)
        if values.size <= SMALL:
            kept.append(initializer)
        elif name is not None and np.array_equal(stored[name][0], values):
            kept.append(_reference(initializer.name, checkpoint.name, *stored[name], nodes))
        elif (found := _table_of(values)) is not None:
            kept += _computed(initializer.name, *found, nodes)
        else:
            kept.append(initializer)
    del graph.initializer[:]
    graph.initializer.extend({i.name: i for i in kept}.values())
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *rest])


def _stored(checkpoint: Path) -> dict[str, tuple[np.ndarray, str, int]]:
    """Each tensor of a safetensors file: its values in single precision, its type, its offset in the file."""
    data = checkpoint.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    found = {}
    for name, entry in json.loads(data[8 : 8 + length]).items():
        if name != "__metadata__":
            begin, end = (8 + length + offset for offset in entry["data_offsets"])
            values = np.frombuffer(data[begin:end], TYPES[entry["dtype"]][1]).reshape(entry["shape"])
            found[name] = (values.astype(np.float32), entry["dtype"], begin)
    return dict(sorted(found.items(), key=lambda item: -len(item[0])))


def _reference(
    name: str, file: str, values: np.ndarray, kind: str, offset: int, nodes: list[Any]
) -> onnx.TensorProto:
    """An initializer whose values lie in the checkpoint; what is stored in half precision is widened."""
    from onnx import TensorProto, helper

    tensor = TensorProto(name=name, data_type=TYPES[kind][0], dims=values.shape)
    if kind == "F16":
        tensor.name = f"{name}.half"
        nodes.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    tensor.data_location = TensorProto.EXTERNAL
    size = values.size * np.dtype(TYPES[kind][1]).itemsize
    for key, value in (("location", file), ("offset", offset), ("length", size)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def _table_of(values: np.ndarray) -> tuple[int, str, int, bool] | None:
    """What a table was made of, None for any other array."""
    for key, table in tables().items():
        if table.shape == values.shape and np.array_equal(table, values):
            return key
    return None


def _computed(
    name: str, size: int, function: str, first: int, inverse: bool, nodes: list[Any]
) -> list[onnx.TensorProto]:
    """Initializers of a table, and the nodes that make it: row[(j k) mod size] * weights[j]."""
    from onnx import helper, numpy_helper

    angle = np.arange(size) * (2 * np.pi / size)
    j, k = np.arange(first, size // 2 + 1)[:, None], np.arange(size // 2 + 1)
    row = getattr(np, function)(angle).astype(np.float32)
    weights = np.ones(j.shape)
    if inverse:
        weights = np.where((j == 0) | (j == size // 2), 1, 2) / size
    elif function == "cos":
        weights[-1] /= 2
    constants = {
        f"{name}.j": j,
        f"fourier_{size}.k": k,
        f"fourier_{size}.size": np.array(size),
        f"fourier_{size}.{function}": row,
        f"{name}.weights": weights.astype(np.float32),
    }
    nodes += [
        helper.make_node("Mul", [f"{name}.j", f"fourier_{size}.k"], [f"{name}.products"]),
        helper.make_node("Mod", [f"{name}.products", f"fourier_{size}.size"], [f"{name}.places"]),
        helper.make_node("Gather", [f"fourier_{size}.{function}", f"{name}.places"], [f"{name}.values"]),
        helper.make_node("Mul", [f"{name}.values", f"{name}.weights"], [name]),
    ]
    return [numpy_helper.from_array(values, key) for key, values in constants.items()]
