"""A graph that takes its weights from the checkpoint beside it, so that nobody keeps them twice.

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
"""A safetensors type as ONNX's number of it, and as numpy's."""

SMALL = 64
"""Values that are not worth a reference."""


@dataclass(frozen=True)
class _Stored:
    """A tensor of a safetensors file: its type there, its shape, and its place in the file."""

    name: str
    kind: str
    shape: tuple[int, ...]
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
            if _key(values) in stored:
                found = [_reference(stored[_key(values)], checkpoint.name, [initializer.name], nodes)]
            elif values.ndim == 2 and _key(values.T) in stored:
                turned = f"{initializer.name}.turned"
                found = [
                    _reference(stored[_key(values.T)], checkpoint.name, [turned, initializer.name], nodes)
                ]
            elif (table := _table_of(values)) is not None:
                found = _computed(initializer.name, *table, nodes)
        kept.update((tensor.name, tensor) for tensor in found)
    del graph.initializer[:]
    graph.initializer.extend(kept.values())
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *rest])


def _key(values: np.ndarray) -> tuple[tuple[int, ...], bytes]:
    return values.shape, hashlib.sha256(np.ascontiguousarray(values).tobytes()).digest()


def _stored(checkpoint: Path) -> dict[tuple[tuple[int, ...], bytes], _Stored]:
    """The tensors of a safetensors file by their shape and a digest of their values in single precision."""
    data = checkpoint.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    found = {}
    for name, entry in json.loads(data[8 : 8 + length]).items():
        if name != "__metadata__":
            begin, end = (8 + length + offset for offset in entry["data_offsets"])
            values = np.frombuffer(data[begin:end], TYPES[entry["dtype"]][1]).reshape(entry["shape"])
            tensor = _Stored(name, entry["dtype"], values.shape, begin, end - begin)
            found[_key(values.astype(np.float32))] = tensor
    return found


def _reference(tensor: _Stored, file: str, names: list[str], nodes: list[Any]) -> onnx.TensorProto:
    """An initializer whose values lie in the checkpoint, and the nodes that make `names` of it.

    Args:
        names: of the values in single precision, and of their transpose where that is what is needed.
    """
    from onnx import TensorProto, helper

    first = f"{names[0]}.half" if tensor.kind == "F16" else names[0]
    made = TensorProto(name=first, data_type=TYPES[tensor.kind][0], dims=tensor.shape)
    if tensor.kind == "F16":
        nodes.append(helper.make_node("Cast", [first], [names[0]], to=TensorProto.FLOAT))
    if len(names) > 1:
        nodes.append(helper.make_node("Transpose", [names[0]], [names[1]], perm=[1, 0]))
    made.data_location = TensorProto.EXTERNAL
    for key, value in (("location", file), ("offset", tensor.offset), ("length", tensor.length)):
        made.external_data.add(key=key, value=str(value))
    return made


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
