"""What a loop over frames marks becomes a Scan, over any number of frames."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper

from audiotool.dsp.loop import MARKS
from audiotool.errors import ExportError
from audiotool.exporting.loops import close_loops


def marked(*outputs: str) -> ModelProto:
    """y[t] = 2 (y[t - 1] + x[t]), where 2 is computed outside of the loop."""
    node = helper.make_node
    nodes = [
        node("State", ["sum"], ["before"], domain=MARKS),
        node("Add", ["one", "one"], ["two"]),
        node("Frame", ["x"], ["frame"], domain=MARKS),
        node("Add", ["before", "frame"], ["added"]),
        node("Mul", ["added", "two"], ["after"]),
        node("Output", ["after"], ["marked"], domain=MARKS),
        node("Next", ["after", "before"], ["next_sum"], domain=MARKS),
        node("Neg", ["marked"], ["y"]),
    ]
    values = {
        name: helper.make_tensor_value_info(
            name, TensorProto.FLOAT, ["batch", "frames" if name in "xy" else 1, 2]
        )
        for name in ("x", "sum", *outputs)
    }
    graph = helper.make_graph(
        nodes,
        "g",
        [values["x"], values["sum"]],
        [values[name] for name in outputs],
        [numpy_helper.from_array(np.ones(1, np.float32), "one")],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(MARKS, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


@pytest.mark.parametrize("frames", [1, 5])
def test_the_body_runs_once_for_each_frame(frames: int) -> None:
    model = marked("y", "next_sum")
    close_loops(model)
    checker.check_model(model)
    assert [node.op_type for node in model.graph.node] == ["Add", "Scan", "Neg"]
    x = np.random.default_rng(0).standard_normal((3, frames, 2)).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    y, last = session.run(None, {"x": x, "sum": np.ones((3, 1, 2), np.float32)})
    expected = np.ones((3, 2), np.float32)
    for n in range(frames):
        expected = 2 * (expected + x[:, n])
        np.testing.assert_allclose(y[:, n], -expected, rtol=1e-6)
    np.testing.assert_allclose(last[:, 0], expected, rtol=1e-6)


def test_a_graph_without_a_loop_stays_as_it_is() -> None:
    model = marked("y")
    del model.graph.node[:]
    model.graph.node.append(helper.make_node("Identity", ["x"], ["y"]))
    before = model.SerializeToString()
    close_loops(model)
    assert model.SerializeToString() == before


def test_a_second_loop_is_refused() -> None:
    model = marked("y")
    model.graph.node.append(helper.make_node("Output", ["after"], ["again"], domain=MARKS))
    with pytest.raises(ExportError, match="more than one loop"):
        close_loops(model)


def test_what_leaves_the_body_without_a_mark_is_refused() -> None:
    with pytest.raises(ExportError, match="without a mark"):
        close_loops(marked("y", "added"))
