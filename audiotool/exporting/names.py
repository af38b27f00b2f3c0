"""Names in a graph: of its nodes, tensors and free axes.

Each node has a name of its own, in bodies, too: onnxruntime 1.19 and 1.20 name new nodes after those that
they replace, and do not load a graph in which two get the same name.
"""

from __future__ import annotations

import string
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

BATCH, LENGTH = "batch", "length"
"""Names of the first axis, of streams, and of the input's last one."""

DIGITS = string.digits + string.ascii_letters


def name_axes(graph: onnx.GraphProto, upsampling: int) -> None:
    """Name the free axes of inputs and outputs: the first "batch", the last of the input "length".

    Args:
        upsampling: output samples for an item of the input; the last axis of the output is named
            "256*length" with 256 of them, and "length" with one.
    """
    lengths = {"input": LENGTH, "output": LENGTH if upsampling == 1 else f"{upsampling}*{LENGTH}"}
    for value in (*graph.input, *graph.output):
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if not dim.HasField("dim_value"):
                dim.dim_param = lengths[value.name] if axis else BATCH


def name_nodes(graph: onnx.GraphProto) -> None:
    """Name each node after its first output, which no other node has."""
    for node in nodes_of(graph):
        node.name = next(filter(None, node.output))


def shorten_names(graph: onnx.GraphProto) -> None:
    """Number all nodes, and all tensors but inputs and outputs.

    Names take a tenth of a graph without weights. They compress best where the number of a tensor begins with
    the lowest digit, and that of a node ends with it.
    """
    kept = {value.name for value in (*graph.input, *graph.output)} | {""}
    _rename(graph, {name: name for name in kept})
    for number, node in enumerate(nodes_of(graph)):
        node.name = _digits(number)[::-1]


def nodes_of(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of a graph, and of the bodies in them."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            yield from nodes_of(attribute.g)


def _rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    def short(name: str) -> str:
        return names.setdefault(name, _digits(len(names)))

    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = short(value.name)
    for node in graph.node:
        node.input[:] = map(short, node.input)
        node.output[:] = map(short, node.output)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                # A body reads what surrounds it.
                _rename(attribute.g, names)


def _digits(number: int) -> str:
    """Return a number from 0 in base 62, the lowest digit first."""
    rest, digit = divmod(number, len(DIGITS))
    return DIGITS[digit] + (_digits(rest) if rest else "")
