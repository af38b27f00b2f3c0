"""A loop over the frames of a chunk, in which each frame's result decides the next one's.

PyTorch runs it frame by frame. A graph runs it as one operator over any number of frames (ONNX's Scan):
while a program is traced, the body is computed once, between operators that `exporting/loops.py` finds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

MARKS = "audiotool"
"""Domain of the operators round the body of a loop. No finished graph has them."""

Body = Callable[[list[Tensor], list[Tensor]], tuple[Tensor, list[Tensor]]]
"""From a state and one frame of each input to one frame of the output, and the next state."""


def loop(body: Body, state: Sequence[Tensor], inputs: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Run a body over frames, one after another. A program that is traced has one loop at most.

    Args:
        body: shapes and types of the state stay the same; its output is (B, 1, …).
        state: tensors (B, …).
        inputs: tensors (B, frames, …), frames >= 1.
    Returns:
        The outputs (B, frames, …), and the last state.
    """
    if torch.compiler.is_exporting():
        return _marked(body, state, inputs)
    state, outputs = list(state), []
    for n in range(inputs[0].shape[1]):
        output, state = body(state, [x[:, n : n + 1] for x in inputs])
        outputs.append(output)
    return torch.cat(outputs, dim=1), [x.clone() for x in state]


def _marked(body: Body, state: Sequence[Tensor], inputs: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    begun = [_mark("State", [_real(x)]) for x in state]
    frame = [_like(x, _mark("Frame", [_real(x)], 1)) for x in inputs]
    output, new = body([_like(x, mark) for x, mark in zip(state, begun, strict=True)], frame)
    ended = [_mark("Next", [_real(x), before]) for x, before in zip(new, begun, strict=True)]
    outputs = _mark("Output", [_real(output)], inputs[0].shape[1])
    return _like(output, outputs), [_like(x, mark) for x, mark in zip(state, ended, strict=True)]


def _mark(name: str, values: list[Tensor], frames: int | None = None) -> Tensor:
    """Return a value that stands for the first of some on the other side of the body's edge."""
    batch, length, *rest = values[0].shape
    shape = (batch, length if frames is None else frames, *rest)
    return torch.onnx.ops.symbolic(f"{MARKS}::{name}", values, dtype=values[0].dtype, shape=shape, version=1)


def _real(x: Tensor) -> Tensor:
    return torch.view_as_real(x) if x.is_complex() else x


def _like(x: Tensor, real: Tensor) -> Tensor:
    return torch.view_as_complex(real) if x.is_complex() else real
