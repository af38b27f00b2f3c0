"""Streamers: take blocks of any size and return the output that is ready. All engines have one interface.

    streamer = make_streamer(engine)
    for block in blocks:
        output = streamer.feed(block)      # (B, stems * C, T'), T' may be 0
    tail = streamer.flush()

All outputs joined have exactly `engine.output_length` of all input items and are aligned with the input:
latency delays when the output is returned and never shifts it.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from audiotool.engines.base import Chunk, Engine, State
from audiotool.errors import StreamError
from audiotool.streaming.carried import Carrier, Value
from audiotool.streaming.onset import Onsets, Rows
from audiotool.streaming.pauses import SHARE, Pauses, energies

LONGEST_SECONDS = 10.0
"""Greatest input of one step in seconds, all rows together. Longer blocks are split, so that memory stays
bounded."""


SHORTEST_WARM_UP = 0.5
"""Seconds of a sound that the warm-up must cover before the state after the warm-up is used at the sound's
onset."""


class Streamer(Carrier, ABC):
    """One stream through one engine.

    Args:
        conditions: passed to the engine at the start of each stream (`level`, `bandwidth_hz`, …).
    """

    carries: ClassVar[tuple[str, ...]] = ("_pending", "_pending_length", "_consumed", "_emitted", "_shape")

    def __init__(self, engine: Engine, **conditions: Any) -> None:
        self.engine = engine
        self.conditions = conditions
        self.reset()

    @property
    @abstractmethod
    def latency(self) -> int:
        """Greatest lag of the output behind the input, in output samples, the streamer's chunks included."""

    def reset(self) -> None:
        """Drop all state; the next `feed` begins a new stream."""
        self._pending: list[Chunk] = []
        self._pending_length = 0
        self._consumed = 0
        self._emitted = 0
        self._shape: tuple[int, int] | None = None
        self._ended = False

    def check_open(self) -> None:
        """Check that the stream has not ended.

        Raises:
            StreamError: it has.
        """
        if self._ended:
            raise StreamError("this stream has ended: call reset() before feeding another")

    def state(self) -> Value:
        self.check_open()
        self._pending = [np.concatenate(self._pending, axis=-1)] if self._pending else []
        return super().state()

    def feed(self, block: Chunk) -> Chunk:
        """Consume (B, C, T), any T >= 0; return the output that is ready, (B, stems * C, T').

        Raises:
            StreamError: the stream has ended, or B or C differs from the first block's.
        """
        self.check_open()
        if block.ndim != 3:
            raise StreamError(f"a block is (batch, channels, time), got {block.ndim} axes")
        shape = (block.shape[0], block.shape[1])
        if self._shape is None:
            self._shape = shape
        elif shape != self._shape:
            raise StreamError(f"this stream began with (batch, channels) = {self._shape}, got {shape}")
        self._consumed += block.shape[-1]
        self._pending.append(block)
        self._pending_length += block.shape[-1]
        return self._count(self._advance())

    def flush(self) -> Chunk:
        """End the stream and return its tail; the outputs then sum to `output_length(input)`."""
        self.check_open()
        if self._shape is None:
            self._shape = (1, self.engine.input_channels)
            self._pending = [np.zeros((*self._shape, 0), np.float32)]
        tail = self._flush()
        self._ended = True
        expected = self.engine.output_length(self._consumed) - self._emitted
        if tail.shape[-1] < expected:
            raise StreamError(f"{self.engine.name} ended {expected - tail.shape[-1]} samples early")
        return self._count(tail)[..., : max(expected, 0)]

    @abstractmethod
    def _advance(self) -> Chunk:
        """Process as much of the pending input as makes whole steps."""

    @abstractmethod
    def _flush(self) -> Chunk:
        """Process the pending input at the end of the stream."""

    def _count(self, output: Chunk) -> Chunk:
        """Add an output to the samples so far.

        Raises:
            StreamError: the model gives other rows than its stems', or more samples than there was input for.
        """
        engine, expected = self.engine, self._nothing().shape[:-1]
        if output.shape[:-1] != expected:
            raise StreamError(
                f"model '{engine.name}' gives an output of shape {output.shape}, and not"
                f" ({expected[0]}, {expected[1]}, samples)"
            )
        self._emitted += output.shape[-1]
        length = engine.output_length(self._consumed)
        # The last step's output may go on beyond the input's end, to the end of the last frame.
        if self._emitted > length + engine.delay + engine.latency + engine.hop_length * engine.upsampling:
            raise StreamError(f"model '{engine.name}' gives {self._emitted} samples in place of {length}")
        return output

    def _take(self, length: int) -> Chunk:
        """Remove the first `length` pending items and return them as one array."""
        joined = self._pending[0] if len(self._pending) == 1 else np.concatenate(self._pending, axis=-1)
        taken, rest = joined[..., :length], joined[..., length:]
        self._pending = [rest]
        self._pending_length = rest.shape[-1]
        return taken

    def _nothing(self) -> Chunk:
        """Return an output of length zero."""
        assert self._shape is not None
        together = self.engine.channels is not None and self.engine.upsampling == 1
        channels = self._shape[1] if together else 1
        return np.zeros((self._shape[0], channels * len(self.engine.stems), 0), np.float32)


class CausalStreamer(Streamer):
    """Stream a causal engine, whose state is explicit.

    Args:
        chunk: input items a step consumes, rounded up to a multiple of the engine's hop; the first also takes
            the engine's lead. None, for live use, returns output after every hop; hops that arrive together
            are one step. The output is the same.
        memory: the engine's state after a warm-up on the stream's first sound; None: there was none.
        memory_begins: input item at which that sound begins, 0 or an onset; (B,) of them for rows.

    Attributes:
        memory: the engine's state.
        onsets: finds onsets, at which the state is reset; None where the model has no warm-up.
        pauses: finds pauses, after which a share of the state is; None with `onsets`.
        is_stepped_elsewhere: True where another object steps the model, see `streaming.streams`.
    """

    carries: ClassVar[tuple[str, ...]] = (*Streamer.carries, "_stepped", "onsets", "pauses")

    def __init__(
        self,
        engine: Engine,
        chunk: int | None = None,
        memory: Any = None,
        memory_begins: int | NDArray[np.int_] = 0,
        **conditions: Any,
    ) -> None:
        if not engine.causal:
            raise StreamError(f"{engine.name} is not causal: use the overlap-add streamer")
        hop = engine.hop_length
        self.chunk = -(-max(chunk or hop, 1) // hop) * hop
        longest = self.chunk if chunk else round(LONGEST_SECONDS * engine.sample_rate / engine.upsampling)
        self._longest = max(longest // self.chunk, 1) * self.chunk
        self.is_stepped_elsewhere = False
        self._warmed_up, self._warmed_up_from = memory, np.asarray(memory_begins)
        super().__init__(engine, **conditions)

    @property
    def latency(self) -> int:
        return self.engine.delay + (self.chunk - 1) * self.engine.upsampling

    def reset(self) -> None:
        super().reset()
        self.memory: State = self.engine.start(**self.conditions, memory=self._warmed_up)
        self._stepped = 0
        form = (self.engine.hop_length, self.engine.sample_rate)
        self.onsets = Onsets(*form) if self.engine.forgets_quiet else None
        self.pauses = Pauses(*form) if self.engine.forgets_quiet else None

    def state(self) -> Value:
        return {**super().state(), "memory": self.engine.pack(self.memory)}

    def restore(self, state: Value) -> None:
        super().restore({name: value for name, value in state.items() if name != "memory"})
        self.memory = self.engine.unpack(state["memory"])

    @property
    def step_length(self) -> int:
        """Input items of the next step: `chunk`, and before the first one the engine's lead."""
        return self.chunk + (0 if self._stepped else self.engine.lead)

    @property
    def has_hop(self) -> bool:
        """Whether the next step's input is complete."""
        return self._pending_length >= self.step_length

    def take_hop(self) -> Chunk:
        """Remove and return the next step's input, (B, C, step_length), for a step that another object
        makes."""
        return self._take(self.step_length)

    def give(self, output: Chunk) -> Chunk:
        """Add the output of such a step."""
        self._stepped += self.step_length
        return self._count(output)

    def _advance(self) -> Chunk:
        if self.is_stepped_elsewhere or not self.has_hop:
            return self._nothing()
        more = (self._pending_length - self.step_length) // self.chunk * self.chunk
        taken = self._take(self.step_length + more)
        longest = max(self._longest // (len(taken) * self.chunk), 1) * self.chunk
        parts = (taken[..., n : n + longest] for n in range(0, taken.shape[-1], longest))
        return np.concatenate([output for part in parts for output in self._steps(part)], axis=-1)

    def _flush(self) -> Chunk:
        return np.concatenate(list(self._steps(self._take(self._pending_length), final=True)), axis=-1)

    def _steps(self, part: Chunk, final: bool = False) -> Iterator[Chunk]:
        """Process a part in steps, which end before onsets and at whole seconds; yield their outputs."""
        runs = [(0, part.shape[-1], None)] if self.onsets is None else self.onsets.runs(part)
        for first, end, rows in runs:
            if rows is not None:
                self._forget(rows)
            edges = [first, end] if self.pauses is None else self.pauses.edges(first, end)
            for begin, stop in itertools.pairwise(edges):
                yield self._step(part[..., begin:stop], final and stop == part.shape[-1])

    def _step(self, x: Chunk, final: bool) -> Chunk:
        """Step the engine, and reset a share of its state where a pause ends."""
        output, self.memory = self.engine.step(x, self.memory, final)
        self._stepped += x.shape[-1]
        if self.pauses is not None:
            rows = self.pauses.add(x.shape[-1], energies(x), energies(output))
            if rows is not None and not final:
                self._forget(rows, SHARE)
        return output

    def _forget(self, rows: Rows, share: float = 1.0) -> None:
        """Reset a share of the state of rows to the memory after the warm-up, if that covered enough of the
        row's sound that begins here; else to the beginning."""
        heard = self._warmed_up_from + self.engine.warm_up_samples - self._stepped
        enough = heard >= SHORTEST_WARM_UP * self.engine.sample_rate
        covered = enough & (self._stepped >= self._warmed_up_from)
        for chosen, memory in ((rows & covered, self._warmed_up), (rows & ~covered, None)):
            if chosen.any():
                self.memory = self.engine.forget(self.memory, chosen, memory, share)
