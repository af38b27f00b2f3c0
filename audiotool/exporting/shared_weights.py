"""Graphs that take their weights from the checkpoint beside them, so that these are not stored twice.

ONNX lets a tensor's values lie in another file, at an offset: a safetensors file is such a file. Half
precision is widened in the graph, once, as it is loaded. Tables of cosines are computed then, too.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from audiotool.exporting.real_pairs import tables

if TYPE_CHECKING:
    import onnx

TYPES = {"F32": (1, np.float32), "F16": (10, np.float16)}
"""safetensors types -> ONNX's number and numpy's type."""

SMALL = 128
"""Number of values up to which a tensor is stored in the graph itself."""


@dataclass(frozen=True)
class _Stored:
    """A tensor of a safetensors file: its type, and its position in the file."""

    kind: str
    offset: int
    length: int


def share_weights(model: onnx.ModelProto, checkpoint: Path) -> None:
    """Replace each initializer that is a tensor of the checkpoint, or a Fourier transform's table."""
    from onnx import numpy_helper

    stored = _stored(checkpoint)
    graph = model.graph
    kept: dict[str, Any] = {}
    nodes: list[Any] = []
    for initializer in graph.initializer:
        values = numpy_helper.to_array(initializer)
        found = [initializer]
        if values.size > SMALL:
            if (reference := _referred(initializer.name, values, stored, checkpoint.name, nodes)) is not None:
                found = reference
            elif (table := _table_of(values)) is not None:
                found = _computed(initializer.name, *table, nodes)
        kept.update((tensor.name, tensor) for tensor in found)
    del graph.initializer[:]
    graph.initializer.extend(kept.values())
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *rest])


def _key(values: np.ndarray) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).digest()


def _stored(checkpoint: Path) -> dict[bytes, _Stored]:
    """Return the tensors of a safetensors file by a digest of their values in single precision."""
    data = checkpoint.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    found = {}
    for name, entry in json.loads(data[8 : 8 + length]).items():
        if name != "__metadata__":
            begin, end = (8 + length + offset for offset in entry["data_offsets"])
            values = np.frombuffer(data[begin:end], TYPES[entry["dtype"]][1])
            found[_key(values.astype(np.float32))] = _Stored(entry["dtype"], begin, end - begin)
    return found


def _referred(
    name: str, values: np.ndarray, stored: dict[bytes, _Stored], file: str, nodes: list[Any]
) -> list[onnx.TensorProto] | None:
    """Initializers and nodes that make `values` of a tensor of the checkpoint that has the same values.

    They may be that tensor itself, in another shape, its transpose, or a GRU's gates in another order.
    """
    from onnx import helper, numpy_helper

    if _key(values) in stored:
        return [_reference(stored[_key(values)], values.shape, file, name, nodes)]
    if values.ndim == 2 and _key(values.T) in stored:
        turned = f"{name}.turned"
        nodes.append(helper.make_node("Transpose", [turned], [name], perm=[1, 0]))
        return [_reference(stored[_key(values.T)], values.T.shape, file, turned, nodes)]
    if values.ndim == 3 and len(values) == 1 and not values.shape[1] % 3:
        z, r, n = np.split(values[0], 3)
        found = stored.get(_key(np.concatenate((r, z, n))))
        if found is not None:
            gates = f"gates_{values.shape[1]}"
            order = np.arange(values.shape[1]).reshape(3, -1)[[1, 0, 2]].reshape(1, -1)
            nodes.append(helper.make_node("Gather", [f"{name}.gates", gates], [name], axis=0))
            reference = _reference(found, values.shape[1:], file, f"{name}.gates", nodes)
            return [reference, numpy_helper.from_array(order, gates)]
    return None


def _reference(
    tensor: _Stored, shape: tuple[int, ...], file: str, name: str, nodes: list[Any]
) -> onnx.TensorProto:
    """Return an initializer whose values are in the checkpoint, called `name` if it is in single
    precision."""
    from onnx import TensorProto, helper

    first = f"{name}.half" if tensor.kind == "F16" else name
    made = TensorProto(name=first, data_type=TYPES[tensor.kind][0], dims=shape)
    if tensor.kind == "F16":
        # Before the node that takes its output.
        nodes.insert(0, helper.make_node("Cast", [first], [name], to=TensorProto.FLOAT))
    made.data_location = TensorProto.EXTERNAL
    for key, value in (("location", file), ("offset", tensor.offset), ("length", tensor.length)):
        made.external_data.add(key=key, value=str(value))
    return made


def _table_of(values: np.ndarray) -> tuple[int, str, int, bool] | None:
    """Return the arguments from which a table was computed; None for any other array."""
    for key, table in tables().items():
        if table.shape == values.shape and np.array_equal(table, values):
            return key
    return None


def _computed(
    name: str, size: int, function: str, first: int, inverse: bool, nodes: list[Any]
) -> list[onnx.TensorProto]:
    """Return the initializers of a table, and the nodes that compute it: row[(j k) mod size] * weights[j]."""
    from onnx import helper, numpy_helper

    angle = np.arange(size) * (2 * np.pi / size)
    j, k = np.arange(first, size // 2 + 1)[:, None], np.arange(size // 2 + 1)
    row = getattr(np, function)(angle).astype(np.float32)
    weights = np.ones(j.shape)
    if inverse:
        weights = np.where((j == 0) | (j == size // 2), 1, 2) / size
    elif function == "cos":
        weights[-1] /= 2
    places = f"fourier_{size}.{first}"
    constants = {
        f"{places}.j": j,
        f"fourier_{size}.k": k,
        f"fourier_{size}.size": np.array(size),
        f"fourier_{size}.{function}": row,
        f"{name}.weights": weights.astype(np.float32),
    }
    if not any(node.output[0] == places for node in nodes):
        nodes += [
            helper.make_node("Mul", [f"{places}.j", f"fourier_{size}.k"], [f"{places}.products"]),
            helper.make_node("Mod", [f"{places}.products", f"fourier_{size}.size"], [places]),
        ]
    nodes += [
        helper.make_node("Gather", [f"fourier_{size}.{function}", places], [f"{name}.values"]),
        helper.make_node("Mul", [f"{name}.values", f"{name}.weights"], [name]),
    ]
    return [numpy_helper.from_array(values, key) for key, values in constants.items()]
