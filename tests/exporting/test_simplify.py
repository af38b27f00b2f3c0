"""A simplified graph has fewer nodes and gives the same, for any number of hops and streams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from audiotool.exporting.simplify import merge_equal, simplify

Node = tuple[str, list[str], str, dict[str, Any], Sequence[Any] | None]
"""Operator, inputs, output, attributes, sizes of the output."""


def graph(nodes: list[Node], constants: dict[str, list[int]]) -> onnx.ModelProto:
    """From "input" (batch, 4 * hops, 8) to the last node; sizes are called what the exporter calls them."""
    made = [helper.make_node(kind, inputs, [output], **more) for kind, inputs, output, more, _ in nodes]
    infos = [
        helper.make_tensor_value_info(output, TensorProto.FLOAT, sizes)
        for *_, output, _, sizes in nodes
        if sizes is not None
    ]
    shape: list[Any] = ["batch", "4*hops", 8]
    model = helper.make_model(
        helper.make_graph(
            made,
            "test",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
            infos[-1:],
            [helper.make_tensor(n, TensorProto.INT64, [len(v)], v) for n, v in constants.items()],
            value_info=infos[:-1],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
    )
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    found = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(found.run(None, {"input": x})[0])


SLICED: list[Node] = [
    ("Slice", ["input", "two", "end", "last"], "a", {}, ["batch", "4*hops", 6]),
    ("Slice", ["a", "minus", "start", "last", "minus"], "b", {}, ["batch", "4*hops", 6]),
    ("Slice", ["b", "one", "five", "last"], "c", {}, ["batch", "4*hops", 4]),
]
RESHAPED: list[Node] = [
    ("Reshape", ["input", "rows"], "a", {}, ["4*batch*hops", 8]),
    ("Unsqueeze", ["a", "one"], "b", {}, ["4*batch*hops", 1, 8]),
    ("Transpose", ["b"], "c", {"perm": [1, 0, 2]}, [1, "4*batch*hops", 8]),
    ("Reshape", ["c", "halves"], "d", {}, ["4*batch*hops", 2, 4]),
]
TWO_FREE: list[Node] = [
    ("Shape", ["input"], "sizes", {"start": 0, "end": 2}, None),
    ("Concat", ["sizes", "halves_of_8"], "target", {"axis": 0}, None),
    ("Relu", ["input"], "r", {}, ["batch", "4*hops", 8]),
    ("Reshape", ["r", "rows"], "a", {}, ["4*batch*hops", 8]),
    ("Sqrt", ["a"], "s", {}, ["4*batch*hops", 8]),
    ("Reshape", ["s", "target"], "b", {}, ["batch", "4*hops", 2, 4]),
]
CONSTANTS = {
    "two": [2], "one": [1], "five": [5], "minus": [-1], "last": [2], "end": [1 << 62], "start": [-(1 << 62)],
    "rows": [-1, 8], "halves": [-1, 2, 4], "halves_of_8": [2, 4],
}  # fmt: skip


@pytest.mark.parametrize(
    ("nodes", "left"),
    [(SLICED, ["Slice"]), (RESHAPED, ["Reshape"]), (TWO_FREE, ["Relu", "Reshape", "Sqrt", "Reshape"])],
)
def test_fewer_nodes_give_the_same(nodes: list[Node], left: list[str]) -> None:
    model, simple = graph(nodes, CONSTANTS), graph(nodes, CONSTANTS)
    simplify(simple)
    kinds = [node.op_type for node in simple.graph.node if node.op_type not in ("Shape", "Concat")]
    assert kinds == left
    assert len(simple.graph.node) <= len(model.graph.node)
    for batch, hops in ((1, 1), (1, 5), (3, 2)):
        x = np.random.default_rng(0).standard_normal((batch, 4 * hops, 8)).astype(np.float32)
        np.testing.assert_array_equal(run(simple, x), run(model, x))


def test_a_slice_of_an_axis_of_any_length_stays() -> None:
    nodes: list[Node] = [
        ("Slice", ["input", "one", "end", "one"], "a", {}, ["batch", "4*hops + -1", 8]),
        ("Slice", ["a", "two", "end", "one"], "b", {}, ["batch", "4*hops + -3", 8]),
    ]
    model, simple = graph(nodes, CONSTANTS), graph(nodes, CONSTANTS)
    simplify(simple)
    x = np.random.default_rng(0).standard_normal((2, 8, 8)).astype(np.float32)
    np.testing.assert_array_equal(run(simple, x), run(model, x))


def test_equal_tensors_are_kept_once() -> None:
    """Initializers, nodes, and what a branch takes of them; an output keeps its name."""
    ones = {name: numpy_helper.from_array(np.ones(3, np.float32), name) for name in ("a", "b")}
    branches = {}
    for key, taken in (("then_branch", "left"), ("else_branch", "right")):
        made = helper.make_node("Neg", [taken], [key])
        branches[key] = helper.make_graph(
            [made], key, [], [helper.make_tensor_value_info(key, TensorProto.FLOAT, None)]
        )
    nodes = [
        helper.make_node("Add", ["x", "a"], ["left"]),
        helper.make_node("Add", ["x", "b"], ["right"]),
        helper.make_node("Mul", ["left", "right"], ["y"]),
        helper.make_node("Mul", ["right", "left"], ["z"]),
        helper.make_node("If", ["more"], ["w"], **branches),
    ]
    floats = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [3]) for name in "xyzw"]
    more = helper.make_tensor_value_info("more", TensorProto.BOOL, [1])
    equal = helper.make_graph(nodes, "equal", [floats[0], more], floats[1:], list(ones.values()))
    model = helper.make_model(equal, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    merge_equal(model)
    assert [i.name for i in model.graph.initializer] == ["a"]
    assert [node.op_type for node in model.graph.node] == ["Add", "Mul", "Mul", "If"]
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.array([1, 2, 3], np.float32)
    for value in (True, False):
        found = session.run(None, {"x": x, "more": np.array([value])})
        assert np.array_equal(found, [(x + 1) ** 2, (x + 1) ** 2, -(x + 1)])
