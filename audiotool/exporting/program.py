"""Convert a step to an ONNX model: traced, with complex numbers replaced by real ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.export import Dim

from audiotool.engines.card import OPSET
from audiotool.exporting.graph_step import GraphStep
from audiotool.exporting.loops import close_loops
from audiotool.exporting.names import name_axes, name_nodes
from audiotool.exporting.real_pairs import RealProgram
from audiotool.exporting.simplify import merge_equal, simplify
from audiotool.exporting.single_steps import split_single_steps

if TYPE_CHECKING:
    import onnx

IR_VERSION = 8
"""Version of the file format: that of opset 18, so that every runtime with these operators reads the file."""


def onnx_model(step: GraphStep) -> onnx.ModelProto:
    """Convert a step to an ONNX model with free numbers of streams and hops.

    The inputs are "input" and the states, the outputs "output" and "next_" + the states.
    """
    from audiotool.exporting.operators import translations

    names = [state.name for state in step.states]
    example = (step.chunk, *(state.example for state in step.states))
    batch, hops = Dim("batch", min=1, max=4096), Dim("hops", min=1, max=1 << 20)
    shapes = (
        {0: batch, 2: step.model.hop_length * hops},
        tuple({0: batch} if state.per_stream else {} for state in step.states),
    )
    with torch.no_grad():
        traced = torch.export.export(step, example, dynamic_shapes=shapes, strict=False)
        real = _Interpreted(traced)
        traced = torch.export.export(real, example, dynamic_shapes=(shapes[0], shapes[1]), strict=False)
        program = torch.onnx.export(
            traced,
            dynamo=True,
            opset_version=OPSET,
            input_names=["input", *names],
            output_names=["output", *(f"next_{name}" for name in names)],
            custom_translation_table=translations(),
            verbose=False,
            optimize=True,
        )
    assert program is not None
    model = program.model_proto
    model.ir_version = IR_VERSION
    simplify(model)
    split_single_steps(model)
    merge_equal(model)
    close_loops(model)
    name_nodes(model.graph)
    name_axes(model.graph, step.model.upsampling)
    return model


class _Interpreted(torch.nn.Module):
    """A traced program that is run with real numbers."""

    def __init__(self, traced: torch.export.ExportedProgram) -> None:
        super().__init__()
        self.program = traced.module()

    def forward(self, chunk: torch.Tensor, *tensors: torch.Tensor) -> Any:
        return RealProgram(self.program).run(chunk, *tensors)
