"""Read ONNX files as data: the tensors and the operations of a graph. Nothing is run.

Exporters rename weights that they fold or transpose (`val_109`, `onnx::GRU_3451`). Importers therefore find
a weight by the operation that uses it: `uses` yields weights in the order of the graph.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audiotool.errors import CheckpointError, DependencyError
from audiotool.extras import install

MAX_BYTES = 1 << 30
"""Greatest size of a file; the largest that is imported has some megabytes."""


@dataclass(frozen=True)
class Operation:
    """A node: its kind, the names of its inputs and outputs, and its attributes as plain values."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class OnnxGraph:
    """The contents of a file.

    Args:
        tensors: initialisers and constants by name.
        operations: in the order in which they are computed.
        inputs: shape of each input by name; 0 where a size is open.
        missing: names of inputs of operations, except the first, that the file does not define.
    """

    tensors: dict[str, Tensor]
    operations: tuple[Operation, ...]
    inputs: dict[str, tuple[int, ...]]
    missing: tuple[str, ...] = ()

    def of_kind(self, kind: str) -> list[Operation]:
        """Return the operations of a kind, in order."""
        return [operation for operation in self.operations if operation.kind == kind]

    def uses(self, kind: str, axes: int | None = None) -> Iterator[tuple[Operation, Tensor]]:
        """Yield the operations of a kind whose second input is a tensor of the file (with so many axes)."""
        for operation in self.operations:
            if operation.kind == kind and len(operation.inputs) > 1:
                tensor = self.tensors.get(operation.inputs[1])
                if tensor is not None and (axes is None or tensor.dim() == axes):
                    yield operation, tensor

    def tensor(self, name: str) -> Tensor:
        """Return a weight that an operation uses.

        Raises:
            CheckpointError: the file has no tensor of that name.
        """
        try:
            return self.tensors[name]
        except KeyError:
            raise CheckpointError(f"the file has no tensor '{name}', which its graph uses") from None

    def recurrent(self, operation: Operation, order: tuple[int, ...]) -> list[dict[str, Tensor]]:
        """Return the weights of a GRU or an LSTM by direction, with torch's names and order of gates.

        Args:
            order: `GRU_ORDER` or `LSTM_ORDER`.
        Raises:
            CheckpointError: the file lacks a weight.
        """
        weight, inner, bias = (self.tensor(name) for name in operation.inputs[1:4])
        directions = []
        for n in range(len(weight)):
            bias_in, bias_inner = bias[n].chunk(2)
            parts = {"weight_ih": weight[n], "weight_hh": inner[n], "bias_ih": bias_in, "bias_hh": bias_inner}
            directions.append({key: reorder_gates(value, order) for key, value in parts.items()})
        return directions

    def refusal(self, found: str) -> CheckpointError:
        """Return the error for unexpected operations; `found` says which there are."""
        reason = "it is of another version, or of another model"
        if self.missing:
            reason = f"the file has no tensor '{self.missing[0]}', which its graph uses"
        return CheckpointError(f"{found}: {reason}")


def read_onnx(path: Path, content: bytes | None = None) -> OnnxGraph:
    """Read an ONNX file.

    Args:
        path: the file, or its name in an archive.
        content: its bytes where it is in an archive.
    Raises:
        DependencyError: the package onnx is not installed.
        CheckpointError: missing, damaged, or its weights are in other files.
    """
    try:
        import onnx
    except ImportError as error:
        raise DependencyError(
            f"ONNX files are read with onnx: install it with `{install('onnx')}`"
        ) from error
    if content is None:
        if not path.is_file():
            raise CheckpointError(f"{path}: no such file")
        if path.stat().st_size > MAX_BYTES:
            raise CheckpointError(f"{path} is larger than any ONNX file that is imported")
    try:
        file = str(path) if content is None else io.BytesIO(content)
        graph = onnx.load(file, load_external_data=False).graph
        if not graph.node:
            raise ValueError("it has no operations")
        tensors = {tensor.name: _tensor(onnx, tensor) for tensor in graph.initializer}
        operations = []
        for node in graph.node:
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            if node.op_type == "Constant" and "value" in attributes:
                tensors[node.output[0]] = _tensor(onnx, attributes["value"])
                continue
            operations.append(Operation(node.op_type, tuple(node.input), tuple(node.output), attributes))
        inputs = {
            i.name: tuple(d.dim_value for d in i.type.tensor_type.shape.dim)
            for i in graph.input
            if i.name not in tensors
        }
    except Exception as error:  # a damaged file can fail in any way
        raise CheckpointError(f"{path} is not an ONNX file, or it is damaged: {error}") from error
    given = {*tensors, *inputs, *(name for operation in operations for name in operation.outputs)}
    used = (name for operation in operations for name in operation.inputs[1:] if name)
    missing = tuple(dict.fromkeys(name for name in used if name not in given))
    held = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    return OnnxGraph(held, tuple(operations), inputs, missing)


def _tensor(onnx: Any, proto: Any) -> Any:
    """Return a tensor of a file; None for types that no weight has."""
    if proto.data_location == onnx.TensorProto.EXTERNAL:
        raise ValueError(f"the weight {proto.name} is in another file")
    values = onnx.numpy_helper.to_array(proto)
    if values.dtype not in (np.float32, np.float64, np.float16, np.int64, np.int32):
        return None
    return torch.from_numpy(np.array(values))


def reorder_gates(tensor: Tensor, order: tuple[int, ...]) -> Tensor:
    """Reorder the gates that are stacked along the first axis."""
    parts = tensor.chunk(len(order), dim=0)
    return torch.cat([parts[n] for n in order], dim=0)


GRU_ORDER = (1, 0, 2)
"""ONNX stacks a GRU's gates as z, r, h; torch as r, z, n."""

LSTM_ORDER = (0, 2, 3, 1)
"""ONNX stacks an LSTM's gates as i, o, f, c; torch as i, f, g, o."""
