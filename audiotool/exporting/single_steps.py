"""Replace the GRU operator by matrix products for a single step, the length of a live hop.

onnxruntime computes the gates of its GRU value by value, one row after another. The same arithmetic as
matrix products and a few operators over all rows takes 0.7 of the time for the 32 bands of one stream, and
0.55 for those of 64 streams. The GRU operator is faster over many steps. A graph therefore has both branches,
and selects one by the number of steps:

    If(steps == 1)  then  z, r = sigmoid([x h] W)    n = tanh(x V + r (h U))    h' = n + z (h - n)
                    else  GRU
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx


def split_single_steps(model: onnx.ModelProto) -> None:
    """Give every GRU over a free number of steps a branch for one step.

    The GRUs are those that `exporting/operators.py` writes: forward, with biases and a first state,
    linear_before_reset=1.
    """
    from onnx import numpy_helper, shape_inference

    inferred = shape_inference.infer_shapes(model).graph
    known = {
        value.name: value.type.tensor_type.shape.dim for value in (*inferred.value_info, *inferred.input)
    }
    nodes: list[Any] = []
    constants: dict[str, np.ndarray] = {}
    for node in model.graph.node:
        if node.op_type == "GRU" and not (node.input[0] in known and known[node.input[0]][0].dim_value):
            nodes += _with_branches(node, constants)
        else:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    held = {initializer.name for initializer in model.graph.initializer}
    new = [numpy_helper.from_array(v, name) for name, v in constants.items() if name not in held]
    model.graph.initializer.extend(new)


def _with_branches(gru: onnx.NodeProto, constants: dict[str, np.ndarray]) -> list[onnx.NodeProto]:
    """Return nodes that arrange the weights, and an If with a single step and the GRU as its branches.

    Args:
        constants: initializers by name; those of the nodes are added.
    """
    from onnx import TensorProto, helper

    name, steps = gru.output[1], gru.input[0]
    size = next(a.i for a in gru.attribute if a.name == "hidden_size")
    constants |= {
        "step.first": np.array([0]),
        "step.one": np.array([1]),
        "step.rows": np.array([0, 1]),
        f"step.gates_{size}": np.array([2 * size, size]),
        f"step.biases_{size}": np.array([2 * size, size, 2 * size, size]),
        f"step.halves_{size}": np.array([size, size]),
    }
    sequence = helper.make_node("GRU", list(gru.input), [".y", ".last"])
    sequence.attribute.extend(gru.attribute)
    # Names of values inside a branch, ".x", must differ from all names of the outer graph.
    branches = {}
    for branch, inner in (("then_branch", _single(gru, name, size)), ("else_branch", [sequence])):
        prefix = f"{name}.{branch[:4]}"
        for node in inner:
            node.input[:] = [prefix + i if i.startswith(".") else i for i in node.input]
            node.output[:] = [prefix + o for o in node.output]
            node.name = node.output[0]
        outputs = [
            helper.make_tensor_value_info(prefix + o, TensorProto.FLOAT, None) for o in (".y", ".last")
        ]
        branches[branch] = helper.make_graph(inner, branch, [], outputs)
    return [
        *_weight_nodes(gru, name, size),
        helper.make_node("Shape", [steps], [f"{name}.steps"], start=0, end=1),
        helper.make_node("Equal", [f"{name}.steps", "step.one"], [f"{name}.single"]),
        helper.make_node("If", [f"{name}.single"], list(gru.output), **branches),
    ]


def _weight_nodes(gru: onnx.NodeProto, name: str, size: int) -> list[onnx.NodeProto]:
    """Return nodes that arrange the weights for a single step; they run once, as the graph is loaded."""
    from onnx.helper import make_node

    nodes = []
    for key, weight in (("w", gru.input[1]), ("r", gru.input[2])):
        parts = [f"{name}.{key}g", f"{name}.{key}n"]
        nodes += [
            make_node("Squeeze", [weight, "step.first"], [f"{name}.{key}"]),
            make_node("Transpose", [f"{name}.{key}"], [f"{name}.{key}t"], perm=[1, 0]),
            make_node("Split", [f"{name}.{key}t", f"step.gates_{size}"], parts, axis=1),
        ]
    biases = [f"{name}.{key}" for key in ("bg0", "bn", "bg1", "bh")]
    return [
        *nodes,
        make_node("Concat", [f"{name}.wg", f"{name}.rg"], [f"{name}.g"], axis=0),
        make_node("Squeeze", [gru.input[3], "step.first"], [f"{name}.b"]),
        make_node("Split", [f"{name}.b", f"step.biases_{size}"], biases, axis=0),
        make_node("Add", [biases[0], biases[2]], [f"{name}.bg"]),
    ]


def _single(gru: onnx.NodeProto, name: str, size: int) -> list[onnx.NodeProto]:
    """Return the nodes of a single step: ".x" (rows, width) and ".h" (rows, size) to ".y" and ".last"."""
    from onnx.helper import make_node

    return [
        make_node("Squeeze", [gru.input[0], "step.first"], [".x"]),
        make_node("Squeeze", [gru.input[5], "step.first"], [".h"]),
        make_node("Concat", [".x", ".h"], [".xh"], axis=1),
        make_node("Gemm", [".xh", f"{name}.g", f"{name}.bg"], [".sums"]),
        make_node("Sigmoid", [".sums"], [".zr"]),
        make_node("Split", [".zr", f"step.halves_{size}"], [".z", ".r"], axis=1),
        make_node("Gemm", [".x", f"{name}.wn", f"{name}.bn"], [".xn"]),
        make_node("Gemm", [".h", f"{name}.rn", f"{name}.bh"], [".hn"]),
        make_node("Mul", [".r", ".hn"], [".rhn"]),
        make_node("Add", [".xn", ".rhn"], [".sum"]),
        make_node("Tanh", [".sum"], [".n"]),
        make_node("Sub", [".h", ".n"], [".rest"]),
        make_node("Mul", [".z", ".rest"], [".kept"]),
        make_node("Add", [".n", ".kept"], [".new"]),
        make_node("Unsqueeze", [".new", "step.first"], [".last"]),
        make_node("Unsqueeze", [".new", "step.rows"], [".y"]),
    ]
