"""Turn the body of a loop over frames, which `dsp/loop.py` marks, into ONNX's Scan.

    x (B, T, F) ── Frame ──┐                      ┌── Output ── y (B, T, F)
                           ├── body, one frame ───┤
    state ─────── State ───┘                      └── Next ──── new state

Body is every operator that depends on a Frame or a State. What it takes from elsewhere, such as weights,
stays outside and is computed once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from audiotool.dsp.loop import MARKS
from audiotool.errors import ExportError

if TYPE_CHECKING:
    import onnx

FRAMES = "loop.frames"
"""Name of the constant that says which axis is the frames'."""


def close_loops(model: onnx.ModelProto) -> None:
    """Replace the marks of a loop and all between them by a Scan.

    Raises:
        ExportError: what the body computes leaves it other than by its marks, or there is a second loop.
    """
    from onnx import numpy_helper

    graph = model.graph
    marks: dict[str, list[Any]] = {name: [] for name in ("State", "Frame", "Output", "Next")}
    for node in graph.node:
        if node.domain == MARKS:
            marks[node.op_type].append(node)
    if not marks["Output"]:
        return
    if len(marks["Output"]) > 1:
        raise ExportError("its step has more than one loop over frames, and a graph holds one")
    ends = {node.output[0] for name in ("Output", "Next") for node in marks[name]}
    body = _dependent(graph.node, marks["State"] + marks["Frame"], ends)
    rest = [node for node in graph.node if node.domain != MARKS and node.output[0] not in body]
    if body.intersection(output.name for output in graph.output):
        raise ExportError("what its loop computes leaves the loop without a mark")
    inner = [node for node in graph.node if node.domain != MARKS and node.output[0] in body]
    after = _dependent(rest, [], set(), ends)
    scan = _scan(marks, inner)
    nodes = [node for node in rest if node.output[0] not in after]
    later = [node for node in rest if node.output[0] in after]
    del graph.node[:]
    graph.node.extend([*nodes, scan, *later])
    graph.initializer.append(numpy_helper.from_array(np.array([1]), FRAMES))
    opsets = [opset for opset in model.opset_import if opset.domain != MARKS]
    del model.opset_import[:]
    model.opset_import.extend(opsets)


def _dependent(
    nodes: Iterable[Any], begins: list[Any], ends: set[str], found: Iterable[str] = ()
) -> set[str]:
    """Return the values that depend on the outputs of `begins` or on `found`, as far as `ends`."""
    names = {name for node in begins for name in node.output} | set(found)
    for node in nodes:
        if names.intersection(node.input) and not ends.intersection(node.output):
            names.update(node.output)
    return names


def _scan(marks: dict[str, list[Any]], inner: list[Any]) -> Any:
    """Return the Scan whose body are the inner nodes."""
    from onnx import helper
    from onnx.helper import make_node

    states, frames = marks["State"], marks["Frame"]
    following = {node.input[1]: node for node in marks["Next"]}
    nexts = [following[node.output[0]] for node in states]
    # Scan's frames have no axis for time.
    begin = [make_node("Unsqueeze", [f"{n.output[0]}.one", FRAMES], [n.output[0]]) for n in frames]
    end = [make_node("Squeeze", [n.input[0], FRAMES], [f"{n.output[0]}.one"]) for n in marks["Output"]]
    copies = [make_node("Identity", [n.input[0]], [f"{n.output[0]}.next"]) for n in nexts]
    given = [n.output[0] for n in states] + [node.input[0] for node in begin]
    results = [node.output[0] for node in (*copies, *end)]
    body = helper.make_graph(
        [*begin, *inner, *copies, *end],
        "loop",
        [helper.make_empty_tensor_value_info(name) for name in given],
        [helper.make_empty_tensor_value_info(name) for name in results],
    )
    return make_node(
        "Scan",
        [node.input[0] for node in (*states, *frames)],
        [node.output[0] for node in (*nexts, *marks["Output"])],
        name="loop",
        body=body,
        num_scan_inputs=len(frames),
        scan_input_axes=[1] * len(frames),
        scan_output_axes=[1] * len(marks["Output"]),
    )
