"""Engines run models: numpy arrays and an explicit state in, numpy arrays and the new state out.

    engine = TorchEngine(model)                     any architecture, any device
    engine = OnnxEngine.open("denoise-16k.onnx")    an exported graph, without PyTorch

    state = engine.start()
    output, state = engine.step(chunk, state)
    tail, _ = engine.step(last, state, final=True)

Streamers, sessions and pipelines use this interface alone. It is the streaming contract of `models/base.py`
in numpy: the output does not depend on how a stream is cut into chunks.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from audiotool.errors import CheckpointError, StreamError

if TYPE_CHECKING:
    from audiotool.dsp.mel import MelConfig

Chunk = NDArray[Any]
"""Array (batch, channels, time), float32 or the engine's own dtype."""

State = Any
"""State of a stream: a value of the engine's own type, never changed in place."""


Rows: TypeAlias = tuple[int, ...]
"""Rows of a common batch that belong to one stream, (B,)."""

Member: TypeAlias = tuple[Rows, Chunk]
"""A stream's rows and its next hop, (B, C, engine.hop_length)."""


class Engine(ABC):
    """A model that is ready to run. Any number of streams and threads may share it.

    Attributes:
        name: of the architecture.
        takes, gives: kinds of input and of output, as `models.base.Model` has them.
        sample_rate: Hz of the output, and of the input where that is a waveform.
        hop_length: input items (samples, or frames for a vocoder) that complete one step of the algorithm.
        lead: input items that a stream's first step takes before its hop, so that this and every later hop
            completes as much output.
        latency: samples; output sample t never depends on input after t + latency.
        delay: output samples that have not come out when `lead` and whole hops have been fed; for causal
            engines.
        causal: True when `step` is implemented; otherwise only `process` is, for whole segments.
        upsampling: output samples per input item: 1 for waveforms, the mel hop for vocoders.
        channels: audio channels consumed together; None means any number, mixed down to one.
        input_channels: size of the input's second axis: audio channels, or a vocoder's features.
        stems: names of the outputs.
        context: for engines that are not causal, the receptive field as input items (before, after) an output
            item; None when it is unbounded.
        uses_level: True when `start` and `process` take the condition `level`, a `dsp.level.Level`.
        extends_from_hz: lowest frequency in Hz at which the model adds content, None where it adds none.
            `start` then takes the condition `bandwidth_hz`.
        warm_up_seconds: length of the warm-up in seconds, 0 for none. `start` then takes the condition
            `memory`.
        uses_position: True when `process` takes the condition `position`.
        mel: definition of a vocoder's input; None for waveforms and for a codec's features.
        uses_f0: whether a vocoder's features have F0 in Hz as one channel after the mel's.
        kind: "onnx" or "torch".
        device_name: "cpu", "cuda:0", ….
        checkpoint_sha256: hash of the checkpoint's file if opening the engine has computed it; "" otherwise.
        parameters: number of trained values.
        macs_per_second: multiply-accumulates for a second of audio, None where they were not counted.
    """

    name: str
    takes: tuple[str, ...] = ("waveform",)
    gives: tuple[str, ...] = ("speech",)
    sample_rate: int
    hop_length: int
    lead: int = 0
    latency: int = 0
    delay: int = 0
    causal: bool = True
    upsampling: int = 1
    channels: int | None = 1
    input_channels: int = 1
    stems: tuple[str, ...] = ("speech",)
    context: tuple[int, int] | None = None
    uses_level: bool = False
    extends_from_hz: float | None = None
    warm_up_seconds: float = 0.0
    uses_position: bool = False
    mel: MelConfig | None = None
    uses_f0: bool = False
    kind: str
    device_name: str = "cpu"
    checkpoint_sha256: str = ""
    parameters: int = 0

    @property
    def macs_per_second(self) -> float | None:
        return None

    @abstractmethod
    def start(self, **conditions: Any) -> State:
        """Return the state at the beginning of a stream.

        Args:
            conditions: `level`, `bandwidth_hz` (a number, or an array (B, 1, 1)), `memory` of the recording,
                and those that `enrol` returned. None is the same as leaving one out; those that the model
                does not use are ignored.
        """

    @abstractmethod
    def step(self, x: Chunk, state: State = None, final: bool = False) -> tuple[Chunk, State]:
        """Process one chunk; return the output that is complete, and the state for the next chunk.

        Args:
            x: (B, C, T) float32 for any T >= 0.
            state: from `start` or the previous step; None begins a stream.
            final: the stream ends after x. The output includes everything that was delayed; the state is not
                to be used again.
        Returns:
            (B, stems * C, T') with T' >= 0, and the new state. Over a stream the outputs sum to at least
            `output_length(total input)`; the streamer cuts the excess.
        """

    def process(self, x: Chunk, **conditions: Any) -> Chunk:
        """Run a whole segment (B, C, T) -> (B, stems * C, output_length(T)); conditions as `start`."""
        y, _ = self.step(x, self.start(**conditions), final=True)
        return y[..., : self.output_length(x.shape[-1])]

    def warm_up(self, beginning: Chunk) -> Any:
        """Run over the beginning of a recording (B, C, T) and return the condition `memory` of `start`."""
        raise TypeError(f"{self.name} has no warm-up")

    def join_memories(self, memories: Sequence[Any]) -> Any:
        """Join results of `warm_up` along their rows."""
        raise TypeError(f"{self.name} has no warm-up")

    def forget(self, state: State, rows: NDArray[Any], memory: Any = None, share: float = 1.0) -> State:
        """Reset the recurrent state of the rows bool (B,) to its value at the beginning of a stream.

        Only what `warm_up` sets is reset; samples that are delayed inside the model stay.

        Args:
            memory: result of a warm-up, as for `start`; None resets to the beginning without one.
            share: of the value at the beginning in the new state, 0 to 1; the rest is the state as it was.
        """
        raise TypeError(f"{self.name} has no warm-up, and forgets nothing")

    @property
    def forgets_quiet(self) -> bool:
        """Whether streams reset the engine's recurrent state at onsets, and a share of it in pauses.

        Streams of models with interchangeable stems do not, because the state decides which stem has which
        speaker.
        """
        return self.causal and self.warm_up_seconds > 0 and len(self.stems) == 1

    def enrol(self, recording: Chunk) -> dict[str, Any]:
        """Encode an enrolment (1, 1, T) at the model's sample rate; return conditions for `start`.

        Raises:
            CheckpointError: the model takes no enrolment.
        """
        raise CheckpointError(
            f"{self.name} takes no enrolment: give a checkpoint of a personalised model, or none"
        )

    @abstractmethod
    def pack(self, state: State) -> Any:
        """Return a state as a plain value that can be saved or sent, see `streaming.carried`."""

    @abstractmethod
    def unpack(self, value: Any) -> State:
        """Return the state from a value that `pack` returned.

        Raises:
            TypeError, ValueError, KeyError: the value is not a state of this engine.
        """

    def batch(self, capacity: int) -> Batch:
        """Return a batch of `capacity` rows, whose streams are stepped together.

        Raises:
            StreamError: the engine is not causal.
        """
        return Batch(self, capacity)

    def output_length(self, length: int) -> int:
        """Return the number of output samples for `length` input items."""
        return length * self.upsampling

    @property
    def warm_up_samples(self) -> int:
        """`warm_up_seconds` as samples at the model's sample rate."""
        return math.ceil(self.warm_up_seconds * self.sample_rate)


class Batch:
    """The states of many streams of one engine. This base class steps each stream alone; subclasses step them
    together.

        batch = engine.batch(capacity=64)
        batch.insert((3,), engine.start())              # a stream of one row
        outputs = batch.step([((3,), hop), ((4, 5), hops)])
        state = batch.extract((3,))                     # goes on alone
        batch.remove((3,))

    A stream is stepped alone at its beginning, until its state has the shapes of the steady state. Streams
    that are stepped alone and together have the same outputs.

    Args:
        engine: causal.
        capacity: number of rows.
    """

    def __init__(self, engine: Engine, capacity: int) -> None:
        if not engine.causal:
            raise StreamError(f"{engine.name} looks ahead: only causal models step many streams together")
        self.engine = engine
        self.capacity = capacity
        self._alone: dict[Rows, Any] = {}

    def insert(self, rows: Rows, state: State) -> None:
        """Set the rows to a stream's state."""
        self._alone.pop(rows, None)
        if not self._insert(rows, state):
            self._alone[rows] = state

    def extract(self, rows: Rows) -> State:
        """Return a copy of a stream's state, for `engine.step`."""
        return self._alone[rows] if rows in self._alone else self._extract(rows)

    def remove(self, rows: Rows) -> None:
        """Forget a stream that has left. Its rows keep their values until the next `insert`."""
        self._alone.pop(rows, None)

    def step(self, members: Sequence[Member]) -> list[Chunk]:
        """Step some streams by their next hop, in any order; return (B, stems * C, T), T >= 0, of each."""
        outputs: dict[Rows, Chunk] = {}
        together = [member for member in members if member[0] not in self._alone]
        if together:
            outputs.update(self._step(together))
        for rows, x in members:
            if rows not in outputs:
                outputs[rows], state = self.engine.step(x, self._alone[rows])
                self.insert(rows, state)
        return [outputs[rows] for rows, _ in members]

    def _insert(self, rows: Rows, state: State) -> bool:
        """Move a state into the common arrays; False where it cannot be stepped with others yet."""
        return False

    def _extract(self, rows: Rows) -> State:
        """Return the state of some rows as the engine's own state: the inverse of `_insert`."""
        raise KeyError(rows)

    def _step(self, members: Sequence[Member]) -> dict[Rows, Chunk]:
        """Step streams whose states are in the common arrays: those that `_insert` has moved there."""
        raise KeyError(members[0][0])


def joined(members: Sequence[Member]) -> tuple[list[int], Chunk]:
    """Join the members' rows, and their hops to (rows, C, T)."""
    rows = [row for own, _ in members for row in own]
    return rows, np.concatenate([x for _, x in members])


def parted(members: Sequence[Member], output: Chunk) -> dict[Rows, Chunk]:
    """Split an output (rows, …) by stream."""
    found, first = {}, 0
    for rows, _ in members:
        found[rows] = output[first : first + len(rows)]
        first += len(rows)
    return found


def selection(rows: list[int]) -> slice | list[int]:
    """Return rows as a slice where they are adjacent, because a slice does not copy arrays."""
    begin, count = rows[0], len(rows)
    return slice(begin, begin + count) if rows == list(range(begin, begin + count)) else rows


def are_interchangeable(stems: Sequence[str]) -> bool:
    """Return whether stems are "speaker1", "speaker2", …, which a model may output in any order."""
    return len(stems) > 1 and all(map(is_speaker, stems))


def interchangeable(stems: Sequence[str]) -> tuple[int, ...]:
    """Return the stems that may be in any order among themselves: several "speaker1", "speaker2", …."""
    speakers = tuple(n for n, stem in enumerate(stems) if is_speaker(stem))
    return speakers if len(speakers) > 1 else ()


def is_speaker(stem: str) -> bool:
    """Return whether a stem is "speaker1", "speaker2", …, one of several voices without an order."""
    return re.fullmatch(r"speaker\d+", stem) is not None
