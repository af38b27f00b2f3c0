"""Fewer nodes: what a traced program computes of its sizes is known, but for the number of hops and streams.

A step of one hop spends most of its time between its nodes. The exporter writes sizes as sums and products of
other sizes; here they become the constants of ONNX's own language for them: -1 (what is left), 0 (as before)
and places counted from the end.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx

SAMPLES = (7, 11, 13)
"""Sizes that symbols are tried with: expressions that agree on all of them are the same."""

END = 1 << 40
"""A slice's end beyond it is the axis's end."""

RESHAPES = ("Reshape", "Squeeze", "Unsqueeze")
"""Operators after which a Reshape is one of what they took."""

Shape = tuple[tuple[int, ...], ...]
"""Each axis's size for each of the samples."""


def simplify(model: onnx.ModelProto) -> None:
    """Replace sizes that are computed by constants, merge reshapes, and remove what is then unused."""
    graph = _Graph(model)
    for node in list(model.graph.node):
        if node.op_type == "Reshape":
            graph.settle_reshape(node)
        elif node.op_type == "Slice":
            graph.settle_slice(node)
    for node in list(model.graph.node):
        if node.op_type == "Reshape":
            graph.merge_reshape(node)
    graph.remove_unused()
    # What the exporter tells of its origin and of sizes, which runtimes infer again.
    del model.graph.value_info[:], model.metadata_props[:], model.graph.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]


class _Graph:
    """A model's values by name."""

    def __init__(self, model: onnx.ModelProto) -> None:
        from onnx import numpy_helper

        self.graph = model.graph
        self.constants = {i.name: numpy_helper.to_array(i) for i in self.graph.initializer}
        self.producers = {name: node for node in self.graph.node for name in node.output}
        values = (*self.graph.value_info, *self.graph.input, *self.graph.output)
        self.shapes = {value.name: _sizes(value) for value in values}
        self.shapes |= {
            name: tuple((size,) * len(SAMPLES) for size in array.shape)
            for name, array in self.constants.items()
        }

    def settle_reshape(self, node: onnx.NodeProto) -> None:
        """Give a Reshape a constant shape where one is enough: one -1, and 0 for sizes that stay in place."""
        before, after = self.shapes.get(node.input[0]), self.shapes.get(node.output[0])
        if node.input[1] in self.constants or before is None or after is None:
            return
        target = [sizes[0] if len(set(sizes)) == 1 else -1 for sizes in after]
        for axis, size in enumerate(target):
            if target.count(-1) > 1 and size == -1 and axis < len(before) and before[axis] == after[axis]:
                target[axis] = 0
        if target.count(-1) <= 1:
            node.input[1] = self.constant(target)
            del node.attribute[:]  # allowzero: a size of 0 means 0

    def settle_slice(self, node: onnx.NodeProto) -> None:
        """Count a Slice's places from the axis's end where that makes them constants."""
        before, after = self.shapes.get(node.input[0]), self.shapes.get(node.output[0])
        axes = self.constants.get(node.input[3]) if len(node.input) > 3 else None
        steps = self.constants.get(node.input[4]) if len(node.input) > 4 else np.ones(1)
        if (
            before is None
            or after is None
            or axes is None
            or steps is None
            or axes.size != 1
            or steps[0] != 1
        ):
            return
        axis = int(axes[0])
        length, kept = np.array(before[axis]), np.array(after[axis])
        start, end = (self.constants.get(name) for name in node.input[1:3])
        if start is not None and end is None and start[0] >= 0:
            rest = length - start[0] - kept
            if len(set(rest)) == 1:
                node.input[2] = self.constant([-int(rest[0]) if rest[0] else END])
        elif start is None and end is not None and end[0] >= END and len(set(kept)) == 1 and kept[0]:
            node.input[1] = self.constant([-int(kept[0])])

    def merge_reshape(self, node: onnx.NodeProto) -> None:
        """Let a Reshape take what was reshaped before it."""
        target = self.constants.get(node.input[1])
        if target is None or (target == 0).any():
            return
        while (producer := self.producers.get(node.input[0])) is not None and producer.op_type in RESHAPES:
            node.input[0] = producer.input[0]

    def constant(self, values: Sequence[int]) -> str:
        """Name of an initializer of these integers."""
        from onnx import numpy_helper

        name = "sizes_" + "_".join(map(str, values)).replace("-", "m")
        if name not in self.constants:
            self.constants[name] = np.array(values, np.int64)
            self.graph.initializer.append(numpy_helper.from_array(self.constants[name], name))
        return name

    def remove_unused(self) -> None:
        """Drop nodes and initializers that no output needs."""
        used = {output.name for output in self.graph.output}
        kept = []
        for node in reversed(self.graph.node):
            if used.intersection(node.output):
                used.update(node.input)
                kept.append(node)
        del self.graph.node[:]
        self.graph.node.extend(reversed(kept))
        initializers = [i for i in self.graph.initializer if i.name in used]
        del self.graph.initializer[:]
        self.graph.initializer.extend(initializers)


def _sizes(value: onnx.ValueInfoProto) -> Shape | None:
    """The sizes of a value for each of the samples, None where they are not known."""
    if not value.type.tensor_type.HasField("shape"):
        return None
    found = []
    for dim in value.type.tensor_type.shape.dim:
        if dim.HasField("dim_value"):
            found.append((dim.dim_value,) * len(SAMPLES))
        elif re.fullmatch(r"[\w\s*+()/-]+", dim.dim_param):
            found.append(tuple(_evaluated(dim.dim_param, n) for n in range(len(SAMPLES))))
        else:
            return None
    return tuple(found)


def _evaluated(expression: str, sample: int) -> int:
    """A sum of products of integers and symbols, such as "32*s94 + 32"; each symbol has a size of its own."""
    total = 0
    for term in expression.replace("- ", "+ -").split("+"):
        product = 1
        for factor in term.split("*"):
            text = factor.strip()
            sign, text = (-1, text[1:]) if text.startswith("-") else (1, text)
            product *= sign * (int(text) if text.isdigit() else _symbol(text) ** 2 * SAMPLES[sample])
        total += product
    return total


def _symbol(name: str) -> int:
    """A number of a symbol's own."""
    return 3 + sum(ord(letter) * (7 + n) for n, letter in enumerate(name)) % 997
