"""Streams of tensors, as tests of models have them."""

from __future__ import annotations

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from audiotool.engines.pytorch import TorchEngine
from audiotool.models.base import Model
from audiotool.streaming.make import make_streamer
from audiotool.streaming.overlap_add import OverlapAddStreamer
from audiotool.streaming.streamer import CausalStreamer, Streamer


class TensorStream:
    """A streamer that takes and gives tensors."""

    def __init__(self, streamer: Streamer) -> None:
        self.streamer = streamer

    @property
    def latency(self) -> int:
        return self.streamer.latency

    def feed(self, block: Tensor) -> Tensor:
        return torch.from_numpy(self.streamer.feed(block.numpy()))

    def flush(self) -> Tensor:
        return torch.from_numpy(self.streamer.flush())

    def process(self, x: Tensor, blocks: int | list[int]) -> Tensor:
        """Return the output of a whole stream, whose input comes in blocks of these sizes."""
        return torch.cat([*(self.feed(block) for block in x.split(blocks, dim=-1)), self.flush()], dim=-1)

    def reset(self) -> None:
        self.streamer.reset()


def stream(
    model: Model, chunk: int | None = None, overlap: int | None = None, **conditions: Any
) -> TensorStream:
    """A stream through a model, as `make_streamer` makes it."""
    return TensorStream(make_streamer(TorchEngine(model), chunk, overlap, **conditions))


def causal_stream(model: Model, chunk: int | None = None, **conditions: Any) -> TensorStream:
    """The same of a causal model."""
    return TensorStream(CausalStreamer(TorchEngine(model), chunk, **conditions))


def overlapping_stream(
    model: Model, segment: int | None = None, overlap: int | None = None, **conditions: Any
) -> TensorStream:
    """The same of a model that looks ahead."""
    return TensorStream(OverlapAddStreamer(TorchEngine(model), segment, overlap, **conditions))


def graph_stream(model: Model, x: Tensor, hops: list[int]) -> Tensor:
    """Whole streams through the step that a graph repeats, as `engines/onnx.py` runs it.

    Within it `torch.compiler.is_exporting` has to be true.

    Args:
        hops: sizes of the chunks in hops, in turn.
    """
    wanted = model.output_length(x.shape[-1])
    items = -(-(wanted + model.delay) // model.upsampling)
    items = -(-items // model.hop_length) * model.hop_length
    x = F.pad(x, (0, items - x.shape[-1]), value=model.drain_value)
    state, outputs = model.graph_start(x.shape[0]), []
    sizes = itertools.cycle(size * model.hop_length for size in hops)
    while x.shape[-1]:
        size = next(sizes)
        y, state = model.step(x[..., :size], state)
        outputs.append(y)
        x = x[..., size:]
    return torch.cat(outputs, dim=-1)[..., model.delay : model.delay + wanted]
