"""Streams of tensors, as tests of models have them."""

from __future__ import annotations

from typing import Any

import torch
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
