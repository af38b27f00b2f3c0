"""What runs a model: numpy arrays and an explicit state in, numpy arrays and the new state out.

    engine = TorchEngine(model)                     any architecture, any device
    engine = OnnxEngine.open("denoise-16k.onnx")    an exported graph, without PyTorch

    state = engine.start()
    output, state = engine.step(chunk, state)
    tail, _ = engine.step(last, state, final=True)

Streamers, sessions and pipelines know this interface alone. It is the streaming contract of `models/base.py`
in numpy: what an engine answers does not depend on how a stream is cut into chunks.
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
"""(batch, channels, time) float32; of an engine of another precision, that."""

State = Any
"""What an engine remembers of a stream: a value of the engine's own, never changed in place."""


Rows: TypeAlias = tuple[int, ...]
"""The rows of a stream, one for each of its own batch's: (B,)."""

Member: TypeAlias = tuple[Rows, Chunk]
"""A stream's rows and its next hop, (B, C, engine.hop_length)."""


class Engine(ABC):
    """One model, ready to run; any number of streams and threads may share it.

    Attributes:
        name: of the architecture.
        takes, gives: kinds of input and of output, as `models.base.Model` has them.
        sample_rate: Hz of the output, and of the input where that is a waveform.
        hop_length: input items (samples, or frames for a vocoder) a step naturally consumes.
        latency: samples; output sample t never depends on input after t + latency.
        delay: output samples that are still inside when whole hops have been fed; a causal engine's.
        causal: True when `step` serves; otherwise `process` takes whole segments.
        upsampling: output samples per input item: 1 for waveforms, the mel hop for vocoders.
        channels: audio channels consumed together; None means any number, mixed down to one.
        input_channels: size of the input's second axis: audio channels, or a vocoder's features.
        stems: names of the outputs.
        context: for engines that are not causal, input items needed (before, after) an item for an exact
            answer; None when unbounded.
        uses_level: True when `start` and `process` take the condition `level`, a `dsp.level.Level`.
        extends_from_hz: lowest frequency in Hz at which something is added to the input, None where nothing
            is. `start` then takes the condition `bandwidth_hz`.
        warm_up_seconds: of a recording's beginning that are worth hearing beforehand, for the condition
            `memory`.
        uses_position: True when `process` takes the condition `position`.
        mel: definition of a vocoder's input; None for waveforms and for a codec's features.
        uses_f0: whether a vocoder's features have F0 in Hz as one channel behind the mel.
        kind: "onnx" or "torch".
        device_name: "cpu", "cuda:0", ….
        parameters: trained values.
        macs_per_second: multiply-accumulates for a second of audio, None where nobody counted.
    """

    name: str
    takes: tuple[str, ...] = ("waveform",)
    gives: tuple[str, ...] = ("speech",)
    sample_rate: int
    hop_length: int
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
    parameters: int = 0

    @property
    def macs_per_second(self) -> float | None:
        return None

    @abstractmethod
    def start(self, **conditions: Any) -> State:
        """State at the beginning of a stream.

        Args:
            conditions: what is known of the recording (`level`, `bandwidth_hz`, `memory`) and what `enrol`
                gave; None, and what the model does not ask for, is as if it were not given.
        """

    @abstractmethod
    def step(self, x: Chunk, state: State = None, final: bool = False) -> tuple[Chunk, State]:
        """Consume one chunk and return what is complete, with the state for the next one.

        Args:
            x: (B, C, T) float32 for any T >= 0.
            state: from `start` or the previous step; None begins a stream.
            final: the stream ends after x; everything still held is emitted and the state is spent.
        Returns:
            (B, stems * C, T') with T' >= 0, and the new state. Over a stream the outputs sum to at least
            `output_length(total input)`; the streamer cuts what is beyond.
        """

    def process(self, x: Chunk, **conditions: Any) -> Chunk:
        """Run a whole segment (B, C, T) -> (B, stems * C, output_length(T)); conditions as `start`."""
        y, _ = self.step(x, self.start(**conditions), final=True)
        return y[..., : self.output_length(x.shape[-1])]

    def warm_up(self, beginning: Chunk) -> Any:
        """What is remembered at the end of a recording's beginning (B, C, T): the condition `memory`."""
        raise TypeError(f"{self.name} has no warm-up")

    def forget(self, state: State, rows: NDArray[Any], memory: Any = None) -> State:
        """Let what is remembered of some rows, bool (B,), be again what it is at the beginning of a stream.

        That is what `warm_up` carries over; samples that are still inside stay.

        Args:
            memory: of a warm-up, as for `start`.
        """
        raise TypeError(f"{self.name} has no warm-up, and forgets nothing")

    @property
    def forgets_quiet(self) -> bool:
        """Whether what a stream held before its first sound leads the engine astray.

        Who is parted from whom must be remembered for longer.
        """
        return self.causal and self.warm_up_seconds > 0 and len(self.stems) == 1

    def enrol(self, recording: Chunk) -> dict[str, Any]:
        """Encode a recording (1, 1, T) of the wanted speaker once: conditions for `start`.

        Raises:
            CheckpointError: the model does not tell speakers apart by an enrolment.
        """
        raise CheckpointError(
            f"{self.name} takes no enrolment: give a checkpoint of a personalised model, or none"
        )

    @abstractmethod
    def pack(self, state: State) -> Any:
        """A state as a plain value, to be kept or sent: see `streaming.carried`."""

    @abstractmethod
    def unpack(self, value: Any) -> State:
        """The state that `pack` made this value of.

        Raises:
            TypeError, ValueError, KeyError: it is none of this engine's.
        """

    def batch(self, capacity: int) -> Batch:
        """Room for so many streams that are stepped together.

        Raises:
            StreamError: the engine is not causal.
        """
        return Batch(self, capacity)

    def prepare(self, batch: int, channels: int, items: int) -> None:
        """Make later steps of (batch, channels, items) fast, as a live stream takes them; answers stay."""
        return

    def output_length(self, length: int) -> int:
        """Output samples that belong to `length` input items."""
        return length * self.upsampling

    @property
    def warm_up_samples(self) -> int:
        """`warm_up_seconds` at the model's rate."""
        return math.ceil(self.warm_up_seconds * self.sample_rate)


class Batch:
    """The states of many streams of one engine, stepped together; this one steps each of them alone.

        batch = engine.batch(capacity=64)
        batch.insert((3,), engine.start())              # a stream of one row
        outputs = batch.step([((3,), hop), ((4, 5), hops)])
        state = batch.extract((3,))                     # goes on alone

    A stream whose state is not yet as all its later ones, at its beginning, is stepped alone until it is. An
    engine that cannot step streams together steps all of them alone: the answers are the same.

    Args:
        engine: causal.
        capacity: rows.
    """

    def __init__(self, engine: Engine, capacity: int) -> None:
        if not engine.causal:
            raise StreamError(f"{engine.name} looks ahead: only causal models step many streams together")
        self.engine = engine
        self.capacity = capacity
        self._alone: dict[Rows, Any] = {}

    def insert(self, rows: Rows, state: State) -> None:
        """Put a stream's state into rows; what was there is forgotten."""
        self._alone.pop(rows, None)
        if not self._absorb(rows, state):
            self._alone[rows] = state

    def extract(self, rows: Rows) -> State:
        """A stream's state, for `engine.step`; it stays as it is when the batch goes on."""
        return self._alone[rows] if rows in self._alone else self._taken(rows)

    def step(self, members: Sequence[Member]) -> list[Chunk]:
        """The next hop of some streams, in any order: (B, stems * C, T) of each, with T >= 0."""
        outputs: dict[Rows, Chunk] = {}
        together = [member for member in members if member[0] not in self._alone]
        if together:
            outputs.update(self._step(together))
        for rows, x in members:
            if rows not in outputs:
                outputs[rows], state = self.engine.step(x, self._alone[rows])
                self.insert(rows, state)
        return [outputs[rows] for rows, _ in members]

    def _absorb(self, rows: Rows, state: State) -> bool:
        """Take a state into the common arrays, where it is one that can be stepped with others."""
        return False

    def _taken(self, rows: Rows) -> State:
        """The inverse."""
        raise KeyError(rows)

    def _step(self, members: Sequence[Member]) -> dict[Rows, Chunk]:
        """Step streams that were absorbed."""
        raise NotImplementedError


def joined(members: Sequence[Member]) -> tuple[list[int], Chunk]:
    """All rows, and their hops (rows, C, T)."""
    rows = [row for own, _ in members for row in own]
    return rows, np.concatenate([x for _, x in members])


def parted(members: Sequence[Member], output: Chunk) -> dict[Rows, Chunk]:
    """An output (rows, …) by stream."""
    found, first = {}, 0
    for rows, _ in members:
        found[rows] = output[first : first + len(rows)]
        first += len(rows)
    return found


def selection(rows: list[int]) -> slice | list[int]:
    """Rows as a slice where they lie side by side: arrays are then not copied."""
    begin, count = rows[0], len(rows)
    return slice(begin, begin + count) if rows == list(range(begin, begin + count)) else rows


def are_interchangeable(stems: Sequence[str]) -> bool:
    """True for "speaker1", "speaker2", …: only their order tells such stems apart, and it may change."""
    return len(stems) > 1 and all(re.fullmatch(r"speaker\d+", stem) for stem in stems)
