"""Graphs that take their weights from the checkpoint beside them, so that these are not stored twice.

ONNX lets a tensor's values lie in another file, at an offset: a safetensors file is such a file. Half
precision is widened in the graph, once, as it is loaded. The matrices of Fourier transforms are computed
then, too, and matrices that are nearly all 0, such as filterbanks, are filled in.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import safe_open

from audiotool.engines.card import Card
from audiotool.exporting.fourier import Table, cosines, factors, tables, windowed_tables

if TYPE_CHECKING:
    import onnx

TYPES = {"F32": (1, np.float32), "F16": (10, np.float16)}
"""safetensors types -> ONNX's number and numpy's type."""

SMALL = 128
"""Number of values up to which a tensor is stored in the graph itself."""

SPARSE = 8
"""A matrix is stored as values and their indices if fewer than one in this many of its values are not 0."""


@dataclass(frozen=True)
class _Stored:
    """A tensor of a safetensors file: its type, and its position in the file."""

    kind: str
    offset: int
    length: int


def share_weights(model: onnx.ModelProto, checkpoint: Path) -> None:
    """Replace each initializer that is a tensor of the checkpoint, or that can be made of little."""
    from onnx import numpy_helper

    stored = _stored(checkpoint)
    graph = model.graph
    sizes = _transform_sizes(graph)
    kept: dict[str, Any] = {}
    nodes: list[Any] = []
    for initializer in graph.initializer:
        name, values = initializer.name, numpy_helper.to_array(initializer)
        made = None
        if values.size > SMALL:
            made = (
                _from_checkpoint(name, values, stored, checkpoint.name, nodes)
                or _computed(name, _table_of(values, sizes), nodes)
                or _from_sparse(name, values, nodes)
            )
        kept.update((tensor.name, tensor) for tensor in made or [initializer])
    del graph.initializer[:]
    # Like lies beside like, which compresses a graph better.
    graph.initializer.extend(sorted(kept.values(), key=lambda i: (i.data_type, tuple(i.dims), i.raw_data)))
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *rest])


def share_starts(card: Card, checkpoint: Path) -> Card:
    """Return a card that has the name of the checkpoint's tensor in place of each start whose values it has.

    A card has them with five digits.
    """
    with safe_open(checkpoint, "numpy") as file:
        tensors = {name: file.get_tensor(name).astype(np.float32).ravel() for name in file.keys()}  # noqa: SIM118
    states = []
    for state in card.states:
        values = np.ravel(state.start)
        fitting = (
            n for n, t in tensors.items() if len(t) == len(values) and np.allclose(t, values, rtol=1e-4)
        )
        states.append(state._replace(start=next(fitting, state.start)) if len(values) > 1 else state)
    return card._replace(states=tuple(states))


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


def _from_checkpoint(
    name: str, values: np.ndarray, stored: dict[bytes, _Stored], file: str, nodes: list[Any]
) -> list[onnx.TensorProto] | None:
    """Return initializers that, with new nodes, compute `values` from a tensor of the checkpoint.

    The values are that tensor, in its shape or another, its transpose, or a GRU's gates in another order.
    """
    from onnx import helper, numpy_helper

    if _key(values) in stored:
        return [_reference(stored[_key(values)], values.shape, file, name, nodes)]
    if values.ndim == 2 and _key(values.T) in stored:
        transposed = f"{name}.turned"
        nodes.append(helper.make_node("Transpose", [transposed], [name], perm=[1, 0]))
        return [_reference(stored[_key(values.T)], values.T.shape, file, transposed, nodes)]
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
    """Return an initializer whose values are in the checkpoint; half precision is cast to `name`."""
    from onnx import TensorProto, helper

    first = f"{name}.half" if tensor.kind == "F16" else name
    made = TensorProto(name=first, data_type=TYPES[tensor.kind][0], dims=shape)
    if tensor.kind == "F16":
        # Nodes are in topological order, so the Cast comes before all that use it.
        nodes.insert(0, helper.make_node("Cast", [first], [name], to=TensorProto.FLOAT))
    made.data_location = TensorProto.EXTERNAL
    for key, value in (("location", file), ("offset", tensor.offset), ("length", tensor.length)):
        made.external_data.add(key=key, value=str(value))
    return made


def _transform_sizes(graph: onnx.GraphProto) -> set[int]:
    """Return the sizes of the Fourier transforms whose matrices may be among the initializers.

    A transform of A B samples has a matrix "second" (A, 2 B, B) or "inverse" (A, B, 2 B).
    """
    found = set()
    for initializer in graph.initializer:
        if len(initializer.dims) == 3:
            first, *others = initializer.dims
            size = first * min(others)
            fits = size > 0 and size % 2 == 0 and max(others) == 2 * min(others)
            if fits and factors(size) == (first, min(others)):
                found.add(size)
    return found


def _table_of(values: np.ndarray, sizes: Iterable[int]) -> Table | None:
    """Return the table that has these values: of a transform of one of the sizes, or of a windowed one; None
    for any other array."""
    found = [table for size in sizes for table in tables(size).values()]
    if values.ndim == 2 and abs(values.shape[0] - values.shape[1]) == 2 and min(values.shape) % 4 == 0:
        found += windowed_tables(min(values.shape)).values()
    fitting = (t for t in found if t.shape == values.shape and np.array_equal(t.values(), values))
    return next(fitting, None)


def _computed(name: str, table: Table | None, nodes: list[Any]) -> list[onnx.TensorProto] | None:
    """Return initializers that, with new nodes, compute a table by the steps of `Table.values`."""
    if table is None:
        return None
    from onnx import helper

    turn = f"turn_{table.size}"
    constants = {
        f"{turn}.cosines": cosines(table.size),
        f"{turn}.size": np.array(table.size, np.int32),
        f"{name}.left": table.left.astype(np.int32),
        f"{name}.right": table.right.astype(np.int32),
        f"{name}.phase": table.phase.astype(np.int32),
        f"{name}.weights": table.weights,
        f"{name}.shape": np.array(table.shape),
    }
    steps = [
        ("Mul", f"{name}.left", f"{name}.right"),
        ("Add", f"{name}.phase"),
        ("Mod", f"{turn}.size"),
        ("Mul", f"{name}.weights"),
        ("Reshape", f"{name}.shape"),
    ]
    if len(table.places):
        constants |= {f"{name}.places": table.places, f"{name}.put": table.put}
        steps.insert(-1, ("ScatterND", f"{name}.places", f"{name}.put"))
    value = ""
    for n, (operator, *inputs) in enumerate(steps):
        made = name if operator == "Reshape" else f"{name}.{n}"
        nodes.append(helper.make_node(operator, [*([value] if value else []), *inputs], [made]))
        value = made
        if operator == "Mod":
            value = f"{made}.cosines"
            nodes.append(helper.make_node("Gather", [f"{turn}.cosines", made], [value]))
    return _tensors(constants)


def _from_sparse(name: str, values: np.ndarray, nodes: list[Any]) -> list[onnx.TensorProto] | None:
    """Return initializers that, with new nodes, fill in a matrix that is nearly all 0; None for any other."""
    if values.dtype != np.float32 or np.count_nonzero(values) * SPARSE >= values.size:
        return None
    from onnx import helper

    places = np.flatnonzero(values)
    nodes += [
        helper.make_node("ConstantOfShape", [f"{name}.size"], [f"{name}.zeros"]),
        helper.make_node(
            "ScatterElements", [f"{name}.zeros", f"{name}.places", f"{name}.values"], [f"{name}.flat"]
        ),
        helper.make_node("Reshape", [f"{name}.flat", f"{name}.shape"], [name]),
    ]
    return _tensors(
        {
            f"{name}.size": np.array([values.size]),
            f"{name}.places": places.astype(np.int32),
            f"{name}.values": values.ravel()[places],
            f"{name}.shape": np.array(values.shape),
        }
    )


def _tensors(constants: dict[str, np.ndarray]) -> list[onnx.TensorProto]:
    from onnx import numpy_helper

    return [numpy_helper.from_array(values, key) for key, values in constants.items()]
