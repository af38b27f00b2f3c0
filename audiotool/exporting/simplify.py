"""Simplify graphs: all sizes are known but for the number of hops and streams, so their computation is
removed.

The overhead of its nodes is most of the time of a step of one hop. The exporter writes sizes as sums and
products of other sizes. Here they become ONNX's constants for sizes: -1 (the rest), 0 (unchanged), and
positions counted from the end.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

SAMPLES = (7, 11, 13)
"""Sizes with which symbols are evaluated: expressions that agree for all of them are taken as equal."""

END = 1 << 40
"""A Slice's end that is not smaller means the end of the axis."""

Sizes = tuple[int, ...]
"""Size of an axis for each of the samples."""

Shape = tuple[Sizes, ...]


def simplify(model: onnx.ModelProto) -> None:
    """Replace computed sizes by constants, merge reshapes and slices, and remove unused nodes."""
    graph = _Graph(model)
    for node in list(model.graph.node):
        if node.op_type == "Slice":
            graph.settle_slice(node)
            graph.merge_slice(node)
        elif graph.only_reshapes(node):
            graph.merge_reshape(node)
        graph.see(node)
    graph.remove_unused()
    # Drop the exporter's metadata and the sizes, because runtimes infer sizes again.
    del model.graph.value_info[:], model.metadata_props[:], model.graph.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]


class _Graph:
    """The values of a graph by name."""

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
        # The first value with an axis of these sizes; names of computed sizes and shapes; new nodes by the
        # output of the node that follows them.
        self.places: dict[Sizes, tuple[str, int]] = {}
        self.computed: dict[Any, str] = {}
        self.added: dict[str, list[onnx.NodeProto]] = {}
        for value in self.graph.input:
            self._see_value(value.name)

    def see(self, node: onnx.NodeProto) -> None:
        """Register a node, whose outputs' sizes later nodes may use."""
        for name in node.output:
            self._see_value(name)

    def _see_value(self, name: str) -> None:
        for axis, sizes in enumerate(self.shapes.get(name) or ()):
            if not _is_known(sizes):
                self.places.setdefault(sizes, (name, axis))

    def only_reshapes(self, node: onnx.NodeProto) -> bool:
        """Return whether a node keeps the order of values and is equivalent to a Reshape."""
        if node.op_type not in ("Reshape", "Squeeze", "Unsqueeze", "Gather", "Transpose"):
            return False
        before, after = self.shapes.get(node.input[0]), self.shapes.get(node.output[0])
        if before is None or after is None:
            return False
        if node.op_type == "Gather":
            index, axis = self.constants.get(node.input[1]), _attribute(node, "axis", 0)
            return index is not None and index.ndim == 0 and before[axis] == (1,) * len(SAMPLES)
        if node.op_type == "Transpose":
            moved = [n for n in _attribute(node, "perm", ()) if before[n] != (1,) * len(SAMPLES)]
            return moved == sorted(moved)
        return True

    def merge_reshape(self, node: onnx.NodeProto) -> None:
        """Merge consecutive nodes that only reshape into one Reshape with a known shape.

        That is a constant where one axis is free: -1, or 0 for sizes that stay in place. Where two are, one
        is asked of an earlier value.
        """
        source = node.input[0]
        while (producer := self.producers.get(source)) is not None and self.only_reshapes(producer):
            source = producer.input[0]
        if node.op_type != "Reshape" and source == node.input[0]:
            return
        shape = self._target(self.shapes[source], self.shapes[node.output[0]], node)
        if shape is None:
            return
        node.op_type = "Reshape"
        del node.attribute[:]  # allowzero: a size of 0 means 0
        node.input[:] = [source, shape]

    def _target(self, before: Shape | None, after: Shape | None, node: onnx.NodeProto) -> str | None:
        """Return the name of a Reshape's shape."""
        if before is None or after is None:
            return None
        target = [sizes[0] if _is_known(sizes) else -1 for sizes in after]
        free = [axis for axis, size in enumerate(target) if size == -1]
        kept = [axis for axis in free[:-1] if axis < len(before) and before[axis] == after[axis]]
        if len(free) - len(kept) <= 1:
            return self.constant([0 if axis in kept else size for axis, size in enumerate(target)])
        dynamic = [axis for axis in free if after[axis] in self.places][: len(free) - 1]
        if len(free) - len(dynamic) > 1:
            return None
        return self._computed_shape(target, {axis: after[axis] for axis in dynamic}, node)

    def _computed_shape(self, target: list[int], dynamic: dict[int, Sizes], node: onnx.NodeProto) -> str:
        """Return a shape of constants and sizes of earlier values, which is computed before a node."""
        from onnx import helper

        key = tuple(dynamic.get(axis, size) for axis, size in enumerate(target))
        if key in self.computed:
            return self.computed[key]
        nodes = self.added.setdefault(node.output[0], [])
        parts = []
        for axis, size in enumerate(target):
            if axis not in dynamic:
                parts.append(self.constant([size]))
                continue
            sizes = dynamic[axis]
            if sizes not in self.computed:
                name, place = self.places[sizes]
                self.computed[sizes] = f"length_{len(self.computed)}"
                nodes.append(
                    helper.make_node("Shape", [name], [self.computed[sizes]], start=place, end=place + 1)
                )
            parts.append(self.computed[sizes])
        self.computed[key] = f"shape_{len(self.computed)}"
        nodes.append(helper.make_node("Concat", parts, [self.computed[key]], axis=0))
        return self.computed[key]

    def settle_slice(self, node: onnx.NodeProto) -> None:
        """Count a Slice's positions from the axis's end if that makes them constants."""
        before, after = self.shapes.get(node.input[0]), self.shapes.get(node.output[0])
        axes = self.constants.get(node.input[3]) if len(node.input) > 3 else None
        steps = self.constants.get(node.input[4]) if len(node.input) > 4 else np.ones(1)
        if before is None or after is None or axes is None or steps is None:
            return
        if axes.size != 1 or steps[0] != 1:
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

    def merge_slice(self, node: onnx.NodeProto) -> None:
        """Merge a Slice of a Slice along the same axis into one."""
        producer = self.producers.get(node.input[0])
        if producer is None or producer.op_type != "Slice":
            return
        first, second = self._places_of(producer), self._places_of(node)
        before = self.shapes.get(producer.input[0])
        if first is None or second is None or before is None or first[0] != second[0]:
            return
        axis, sizes = first[0], before[first[0]]
        if not _is_known(sizes):
            return
        kept = range(sizes[0])[first[1]][second[1]]
        end = kept.stop if kept.stop >= 0 else -END
        values = ([kept.start], [end], [axis % len(before)], [kept.step])
        node.input[:] = [producer.input[0], *map(self.constant, values)]

    def _places_of(self, node: onnx.NodeProto) -> tuple[int, slice] | None:
        """Return a Slice's axis and positions; None where they are not constant."""
        found = [self.constants.get(name) for name in node.input[1:]]
        if len(found) < 3 or any(values is None or values.size != 1 for values in found):
            return None
        start, end, axis, *step = (int(values[0]) for values in found if values is not None)
        shape = self.shapes.get(node.input[0])
        if not shape:
            return None
        stop = None if step and step[0] < 0 and end <= -END else end
        return axis % len(shape), slice(start, stop, step[0] if step else 1)

    def constant(self, values: Sequence[int]) -> str:
        """Return the name of an initializer of these integers."""
        from onnx import numpy_helper

        name = "sizes_" + "_".join(map(str, values)).replace("-", "m")
        if name not in self.constants:
            self.constants[name] = np.array(values, np.int64)
            self.graph.initializer.append(numpy_helper.from_array(self.constants[name], name))
        return name

    def remove_unused(self) -> None:
        """Drop nodes and initializers that no output needs."""
        used = {output.name for output in self.graph.output}
        nodes = [new for node in self.graph.node for new in (*self.added.get(node.output[0], ()), node)]
        kept = []
        for node in reversed(nodes):
            if used.intersection(node.output):
                used.update(node.input)
                kept.append(node)
        del self.graph.node[:]
        self.graph.node.extend(reversed(kept))
        initializers = [i for i in self.graph.initializer if i.name in used]
        del self.graph.initializer[:]
        self.graph.initializer.extend(initializers)


def _is_known(sizes: Sizes) -> bool:
    return len(set(sizes)) == 1


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    from onnx import helper

    found = [helper.get_attribute_value(a) for a in node.attribute if a.name == name]
    return found[0] if found else default


def _sizes(value: onnx.ValueInfoProto) -> Shape | None:
    """Return the sizes of a value for each of the samples; None where they are not known."""
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
    """Evaluate a sum of products of integers and symbols, such as "32*s94 + 32", for a sample.

    Each symbol has a different size.
    """
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
    """Return a number that belongs to the symbol alone."""
    return 3 + sum(ord(letter) * (7 + n) for n, letter in enumerate(name)) % 997


def merge_equal(model: onnx.ModelProto) -> None:
    """Merge equal initializers, and nodes with the same operator, attributes and inputs.

    Constants of every iteration, such as the matrices of a Fourier transform, are then in memory once.
    """
    graph = model.graph
    kept: dict[bytes, list[str]] = {}
    renamed: dict[str, str] = {}
    outputs = {output.name for output in graph.output}

    def is_new(key: bytes, names: list[str]) -> bool:
        if outputs.intersection(names):
            return True
        first = kept.setdefault(key, names)
        renamed.update((name, other) for name, other in zip(names, first, strict=True) if name != other)
        return first == names

    initializers = [i for i in graph.initializer if is_new(_content(i), [i.name])]
    nodes = []
    for node in graph.node:
        _rename_inputs(node, renamed)
        if is_new(_content(node), list(node.output)):
            nodes.append(node)
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(initializers)
    graph.node.extend(nodes)


def _content(value: onnx.TensorProto | onnx.NodeProto) -> bytes:
    """Serialise an initializer without its name, or a node without the names of it and its outputs."""
    other = type(value)()
    other.CopyFrom(value)
    other.name = ""
    if hasattr(other, "output"):
        other.output[:] = ["x"] * len(other.output)
    return other.SerializeToString(deterministic=True)


def _rename_inputs(node: onnx.NodeProto, renamed: dict[str, str]) -> None:
    """Give a node, and those of its branches, the inputs that were kept."""
    node.input[:] = [renamed.get(name, name) for name in node.input]
    for attribute in node.attribute:
        for inner in attribute.g.node:
            _rename_inputs(inner, renamed)
