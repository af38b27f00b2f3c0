"""Push samples in blocks of any size, get what is ready: the same surface for every model.

    streamer = make_streamer(model)
    for block in blocks:
        output = streamer.feed(block)      # (B, stems * C, T'), T' may be 0
    tail = streamer.flush()

The outputs joined have exactly `model.output_length(all input)` items and are aligned with the input:
latency shows as output that comes later, never as output that is shifted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from audiotool.errors import StreamError
from audiotool.models.base import Model, State
from audiotool.streaming.steady import SteadyStep, steady_step

FEW_CHUNKS = 3
"""Chunks up to which replaying a live step for each takes less time than one plain step for all."""

LONGEST_SECONDS = 10.0
"""Input of one step at most, however much is given at once: memory stays bounded."""


class Streamer(ABC):
    """A stream through one model.

    Args:
        model: in eval mode; its device and type are the stream's.
        conditions: passed to the model at the start of each stream (`level`, `bandwidth_hz`, …).
    """

    def __init__(self, model: Model, **conditions: Any) -> None:
        self.model = model
        self.conditions = conditions
        self.reset()

    @property
    @abstractmethod
    def latency(self) -> int:
        """Output samples by which the output may lag the input, the streamer's own chunking included."""

    def reset(self) -> None:
        """Forget everything: the next `feed` begins a new stream."""
        self._pending: list[Tensor] = []
        self._pending_length = 0
        self._consumed = 0
        self._emitted = 0
        self._shape: tuple[int, int] | None = None
        self._ended = False

    @torch.inference_mode()
    def feed(self, block: Tensor) -> Tensor:
        """Consume (B, C, T) for any T >= 0; return what is ready, (B, stems * C, T').

        Raises:
            StreamError: the stream has ended, or B or C differs from the first block's.
        """
        if self._ended:
            raise StreamError("this stream has ended: call reset() before feeding another")
        if block.dim() != 3:
            raise StreamError(f"a block is (batch, channels, time), got {block.dim()} axes")
        shape = (block.shape[0], block.shape[1])
        if self._shape is None:
            self._shape = shape
        elif shape != self._shape:
            raise StreamError(f"this stream began with (batch, channels) = {self._shape}, got {shape}")
        self._consumed += block.shape[-1]
        self._pending.append(block)
        self._pending_length += block.shape[-1]
        return self._count(self._advance())

    @torch.inference_mode()
    def flush(self) -> Tensor:
        """End the stream and return its tail; the outputs then sum to `output_length(input)`."""
        if self._ended:
            raise StreamError("this stream has ended already")
        if self._shape is None:
            self._shape = (1, self.model.input_channels)
            self._pending = [next(self.model.parameters()).new_zeros(*self._shape, 0)]
        tail = self._finish()
        self._ended = True
        expected = self.model.output_length(self._consumed) - self._emitted
        if tail.shape[-1] < expected:
            raise StreamError(f"{self.model.name} ended {expected - tail.shape[-1]} samples early")
        return self._count(tail[..., : max(expected, 0)])

    @abstractmethod
    def _advance(self) -> Tensor:
        """Process as much of the pending input as is due."""

    @abstractmethod
    def _finish(self) -> Tensor:
        """Process the rest."""

    def _count(self, output: Tensor) -> Tensor:
        self._emitted += output.shape[-1]
        return output

    def _take(self, length: int) -> Tensor:
        """Remove the first `length` pending items and return them as one tensor."""
        joined = self._pending[0] if len(self._pending) == 1 else torch.cat(self._pending, dim=-1)
        taken, rest = joined[..., :length], joined[..., length:]
        self._pending = [rest]
        self._pending_length = rest.shape[-1]
        return taken

    def _nothing(self) -> Tensor:
        """An output of length zero."""
        assert self._shape is not None
        reference = self._pending[0]
        channels = 1 if self.model.channels is None else self._shape[1] if self.model.upsampling == 1 else 1
        return reference.new_zeros(self._shape[0], channels * len(self.model.stems), 0)


class CausalStreamer(Streamer):
    """A causal model with explicit state.

    Args:
        chunk: input items a step consumes, rounded up to a multiple of the model's hop. None is for live use:
            output comes after every hop, and hops that come together are taken together. The output is the
            same.
    """

    def __init__(self, model: Model, chunk: int | None = None, **conditions: Any) -> None:
        if not model.causal:
            raise StreamError(f"{model.name} is not causal: use the overlap-add streamer")
        hop = model.hop_length
        self.chunk = -(-max(chunk or hop, 1) // hop) * hop
        longest = self.chunk if chunk else round(LONGEST_SECONDS * model.sample_rate / model.upsampling)
        self._longest = max(longest // self.chunk, 1) * self.chunk
        self._steady: SteadyStep | None = None
        super().__init__(model, **conditions)

    def prepare(self, batch: int, channels: int) -> None:
        """Make the steps of a live stream fast before its first block comes; the output stays the same.

        Args:
            batch, channels: of the blocks to come.
        """
        self._steady = steady_step(self.model, (batch, channels, self.chunk), **self.conditions)

    @property
    def latency(self) -> int:
        return self.model.delay + (self.chunk - 1) * self.model.upsampling

    def reset(self) -> None:
        super().reset()
        with torch.inference_mode():
            self._state: State = self.model.start(**self.conditions)
        self._tensors: Sequence[Tensor] | None = None

    def _advance(self) -> Tensor:
        ready = self._pending_length // self.chunk
        if not ready:
            return self._nothing()
        replays = self._steady is not None and ready <= FEW_CHUNKS
        # Rows together hold no more than one would.
        longest = max(self._longest // (self._pending[0].shape[0] * self.chunk), 1) * self.chunk
        parts = self._take(ready * self.chunk).split(self.chunk if replays else longest, dim=-1)
        outputs = [self._step(part) for part in parts]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)

    def _step(self, part: Tensor) -> Tensor:
        if self._steady is not None and part.shape[-1] == self.chunk:
            if self._tensors is None:
                self._tensors = self._steady.begin(self._state)
            if self._tensors is not None:
                output, self._tensors = self._steady(part, self._tensors)
                return output
        return self._plain_step(part)

    def _finish(self) -> Tensor:
        return self._plain_step(self._take(self._pending_length), final=True)

    def _plain_step(self, part: Tensor, final: bool = False) -> Tensor:
        if self._steady is not None and self._tensors is not None:
            self._state, self._tensors = self._steady.end(self._tensors), None
        output, self._state = self.model.step(part, self._state, final)
        return output


def make_streamer(
    model: Model, chunk: int | None = None, overlap: int | None = None, **conditions: Any
) -> Streamer:
    """Return the streamer a model asks for.

    Args:
        chunk: input items consumed at a time; None is whole hops as they come (causal) or ten seconds
            (overlap-add).
        overlap: items of cross-fade between overlap-add segments; only for models without exact context.
    """
    if model.causal:
        return CausalStreamer(model, chunk, **conditions)
    from audiotool.streaming.overlap_add import OverlapAddStreamer

    return OverlapAddStreamer(model, chunk, overlap, **conditions)
