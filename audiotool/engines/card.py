"""The card beside a graph: a JSON description of its inputs, outputs and states.

    {"format": 1, "name": "band-split-gru", "task": "denoise", "sample_rate": 16000, "hop_length": 256,
     "delay": 256, ...,
     "states": [{"name": "layers.0", "shape": ["batch", 32, 40], "type": "float32", "meaning": ...,
                 "start": 0.0}, ...]}

A stream: begin with every state's `start`, repeated for each stream of a batch; a start that is a name is
that tensor of the checkpoint beside the graph. Feed "input" any number of whole hops with the states. Take
"output", and "next_" + each state for the next call. Drop the first `delay` samples of the output. At the
end, feed `drain_value` until the output has the length of the input.

This is a stream of the bare model. Those of audiotool also reset the states of `warmed_up` at onsets and in
pauses (`streaming/onset.py`, `streaming/pauses.py`), if the model has one stem.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from audiotool.configuration import Extent, Hertz, Length, Rate, Stems, Width, check_types
from audiotool.documents import read_json, read_text
from audiotool.errors import CheckpointError
from audiotool.value_types import Pattern, Range, quote

FORMAT = 1

OPSET = 18
"""Version of the ONNX operator set of graphs."""

OLDEST_RUNTIME = (1, 14)
"""Lowest version of onnxruntime that runs `OPSET`."""


MOST_VALUES = 1 << 24
"""Greatest number of values of all states of a stream."""

Batch = Annotated[str, Pattern("batch")]
Type = Annotated[str, Pattern("float32|float64|int64")]
Count = Annotated[int, Range(ge=0, lt=1 << 63)]
WarmUp = Annotated[float, Range(ge=0, le=60)]
"""Kind: length of a warm-up in seconds."""

FORMER_KEYS = {"rehearses_seconds": "warm_up_seconds", "rehearsed": "warmed_up"}
"""Keys of cards written before version 0.2 -> current keys."""


class StateCard(NamedTuple):
    """One state of a graph: the input `name`, the output "next_" + `name`.

    Args:
        shape: sizes, "batch" first where every stream of a batch has its own.
        type: "float32", "float64" or "int64".
        meaning: description of the content, in words.
        start: value at the beginning of a stream, without the batch axis: a number for all, or nested lists.
            Where the weights are in the checkpoint beside the graph, it may be the name of a tensor there.
    """

    name: str
    shape: tuple[Extent | Batch, ...]
    type: Type
    meaning: str
    start: Any = 0.0

    @classmethod
    def of(cls, values: dict[str, Any]) -> StateCard:
        """Return the state of a card's values.

        Raises:
            CheckpointError: a value is missing, of another type or out of range.
            TypeError: a name is unknown.
        """
        return cls(**_checked(cls, values))

    def from_checkpoint(self, checkpoint: Path) -> StateCard:
        """Return the state with its start as an array if that is a tensor of the checkpoint, else itself.

        Raises:
            ValueError: the checkpoint cannot be read, or has no such tensor.
        """
        if not isinstance(self.start, str):
            return self
        try:
            with safe_open(checkpoint, "numpy") as file:
                return self._replace(start=file.get_tensor(self.start).reshape(self._shape_of_one))
        except (OSError, SafetensorError) as error:
            raise ValueError(f"{checkpoint.name} has not the start of state {self.name}: {error}") from error

    @property
    def by_row(self) -> bool:
        """Whether every stream of a batch has values of its own."""
        return self.shape[:1] == ("batch",)

    def values(self) -> NDArray[Any]:
        """Return `start` as an array of the state's shape and type, with a batch axis of length 1."""
        return np.ascontiguousarray(self.view())

    def view(self) -> NDArray[Any]:
        """Return `values` as a view of `start`, which takes no memory of the shape's size.

        Raises:
            ValueError: `start` does not fit the shape.
        """
        return np.broadcast_to(np.asarray(self.start, self.type), self._shape_of_one)

    @property
    def _shape_of_one(self) -> tuple[int, ...]:
        return tuple(1 if isinstance(size, str) else size for size in self.shape)


class Card(NamedTuple):
    """Description of a graph; see the module docstring, and `engines.base.Engine` for most fields.

    Args:
        graph: name of the graph's file.
        graph_sha256, checkpoint_sha256: hexadecimal, of the graph and of the checkpoint it was made from.
        opset: version of the ONNX operator set.
        shorter: input items at the end of a stream that have no output.
        drain_value: value of the input items that are appended at a stream's end.
        warmed_up: names of the states that a warm-up sets; the warm-up itself begins with all states 0.
        parameters: number of trained values.
        macs_per_second: multiply-accumulates for a second of audio, None where they were not counted.
    """

    name: str
    task: str
    sample_rate: Rate
    hop_length: Length
    latency: Extent
    delay: Extent
    states: tuple[StateCard, ...]
    graph: str = ""
    graph_sha256: str = ""
    checkpoint_sha256: str = ""
    reference: str = ""
    licence: str = "unknown"
    version: str = ""
    opset: Count = OPSET
    upsampling: Length = 1
    channels: Width | None = 1
    input_channels: Width = 1
    stems: Stems = ("speech",)
    shorter: Extent = 0
    drain_value: float = 0.0
    uses_level: bool = False
    extends_from_hz: Hertz | None = None
    warm_up_seconds: WarmUp = 0.0
    warmed_up: tuple[str, ...] = ()
    mel: dict[str, Any] | None = None
    uses_f0: bool = False
    parameters: Count = 0
    macs_per_second: Count | None = None
    format: int = FORMAT

    def to_json(self) -> str:
        """Return the card as JSON text, one line a state."""
        values = self._asdict()
        states = ",\n    ".join(
            json.dumps(state._asdict(), ensure_ascii=False) for state in values.pop("states")
        )
        head = json.dumps({"format": values.pop("format"), **values}, indent=2, ensure_ascii=False)
        return f'{head[:-2]},\n  "states": [\n    {states}\n  ]\n}}\n'

    @classmethod
    def read(cls, path: Path) -> Card:
        """Read the card of a graph.

        Raises:
            CheckpointError: missing, damaged, or of another format.
        """
        if not path.is_file():
            raise CheckpointError(f"{path}: no card beside the graph; `audiotool models export` writes both")
        try:
            values = read_json(read_text(path))
            if values.get("format") == FORMAT:
                return cls._from(values, path.with_suffix(".safetensors"))
        except (CheckpointError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise CheckpointError(
                f"{path} is not the card of a graph, or damaged ({error}): export the graph again"
            ) from error
        raise CheckpointError(
            f"{path} has format {quote(values.get('format'))}, this audiotool reads {FORMAT}: export the"
            " graph again"
        )

    @classmethod
    def _from(cls, values: dict[str, Any], checkpoint: Path) -> Card:
        values = {FORMER_KEYS.get(key, key): value for key, value in values.items()}
        fields = {key: value for key, value in values.items() if key in cls._fields}
        states = tuple(StateCard.of(state).from_checkpoint(checkpoint) for state in values["states"])
        count = sum(state.view().size for state in states)
        if count > MOST_VALUES:
            raise ValueError(f"its states have {count} values, at most {MOST_VALUES} are possible")
        card = cls(**_checked(cls, {**fields, "states": states}))
        if unknown := set(card.warmed_up) - {state.name for state in states}:
            raise ValueError(f"warmed_up: there is no state {quote(next(iter(unknown)))}")
        if card.mel is not None:
            from audiotool.dsp.mel import mel_config

            mel_config(card.mel)
        return card


def _checked(kind: type[Card | StateCard], values: dict[str, Any]) -> dict[str, Any]:
    """Return plain values of a description, with tuples in place of lists.

    Raises:
        CheckpointError: a value is missing, of another type or out of range.
    """
    fields = {
        key: tuple(value) if isinstance(value, list) and key != "start" else value
        for key, value in values.items()
    }
    check_types(kind, fields, "")
    return fields
