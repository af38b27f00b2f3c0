"""The state of a live stream as a value: it can be saved to a file and continued in another process.

    state = live.state()
    state.save("call-17.safetensors")
    ...
    live = pipeline.live(16000, state=StreamState.load("call-17.safetensors"))

The file is safetensors: the arrays, and under the key "audiotool-stream" one JSON document that says what
they belong to (checkpoint, engine, rate, settings) and how they are nested. Nothing in the file is executed.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as serialise

from audiotool.arrays import UserArray
from audiotool.atomic import replacing
from audiotool.documents import DocumentError, read_json
from audiotool.engines.base import Engine
from audiotool.errors import InputError, StreamError
from audiotool.paths import in_utf8, local_path
from audiotool.streaming.carried import DAMAGED, Value
from audiotool.streaming.session import Session, Settings
from audiotool.value_types import quote
from audiotool.version import __version__
from audiotool.writable import as_input_error, check_writable

FORMAT = 2
KEY = "audiotool-stream"


# Its arrays have no one answer to ==: a state equals itself alone.
@dataclass(frozen=True, eq=False)
class StreamState:
    """All that a live stream carries between two blocks.

    Args:
        model: name of the architecture.
        checkpoint_sha256: hash of the checkpoint file; "" for a model without a file.
        engine: "onnx" or "torch"; the state of one does not fit the other.
        sample_rate: Hz of the input.
        channels: number of channels of the input.
        settings: the stream's options when the state was taken.
        values: the states of the stream's parts, see `streaming.carried`.
        version: version of audiotool that wrote the state. It is not checked.
        format: form of `values`, by which other versions tell whether they can read them.
    """

    model: str
    checkpoint_sha256: str
    engine: str
    sample_rate: int
    channels: int
    settings: Settings
    values: Value = field(repr=False)
    version: str = __version__
    # Not FORMAT: a state that 0.2.0 pickled has no format and takes this one.
    format: int = 1

    @staticmethod
    def expect(value: object) -> None:
        """Check the type of a state that a caller gives.

        Raises:
            StreamError: it is no state, but perhaps the path of one.
        """
        if not isinstance(value, StreamState):
            hint = ": StreamState.load(path) reads one" if isinstance(value, (str, os.PathLike)) else ""
            raise StreamError(f"state is a StreamState, got {quote(value)}{hint}")

    @classmethod
    def of(cls, session: Session, like: UserArray | None, checkpoint_sha256: str) -> StreamState:
        """Return the state of a stream.

        Args:
            session: the stream's session.
            like: an array of the kind that was fed last; None if nothing was fed.
        Raises:
            StreamError: the stream has ended, or its state is not finite.
        """
        held = session.state()
        if not _is_finite(held):
            raise StreamError("the model's state holds NaN or infinity: begin the stream anew")
        return cls(
            model=session.engine.name,
            checkpoint_sha256=checkpoint_sha256,
            engine=session.engine.kind,
            sample_rate=session.sample_rate,
            channels=session.channels,
            settings=session.settings,
            values={
                "session": held,
                "like": None if like is None else np.zeros((0,) if like.flat else (1, 0), like.dtype),
            },
            format=FORMAT,
        )

    def into(self, session: Session) -> UserArray | None:
        """Let a session of the same kind of stream continue from here; return `like`, as a numpy array.

        Raises:
            StreamError: the state is damaged.
        """
        is_complete = isinstance(self.values, dict) and self.values.keys() == {"session", "like"}
        if not is_complete or not _is_finite(self.values):
            raise StreamError(DAMAGED)
        session.restore(self.values["session"])
        like = self.values["like"]
        try:
            return None if like is None else UserArray(like)
        except InputError as error:
            raise StreamError(DAMAGED) from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the state to a file, which appears under its name when it is complete.

        Raises:
            InputError: no local file, or one that cannot be written.
        """
        place = Path(local_path(path))
        check_writable(place)
        arrays: dict[str, NDArray[Any]] = {}
        header = {
            **{f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "values"},
            "settings": dataclasses.asdict(self.settings),
            "values": _described(self.values, arrays),
        }
        data = serialise(arrays, metadata={KEY: json.dumps(header)})
        with as_input_error(place), replacing(place) as file:
            file.write(data)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> StreamState:
        """Read a file that `save` wrote.

        Raises:
            InputError: no local file, missing, damaged, not the state of a stream, or of another format.
        """
        path = local_path(path)
        try:
            with in_utf8(path) as place, safe_open(place, framework="np") as file:
                text = (file.metadata() or {}).get(KEY)
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except FileNotFoundError as error:
            raise InputError(f"{path}: no such file") from error
        except (SafetensorError, OSError, ValueError) as error:
            raise InputError(f"{path} is not the state of a stream, or damaged ({error})") from error
        if text is None:
            raise InputError(f"{path} is not the state of a stream: `live.state().save(path)` writes one")
        try:
            header = read_json(text)
            found = header["format"]
            known = {field.name for kind in (cls, Settings) for field in dataclasses.fields(kind)}
            unknown = sorted((header.keys() | header.get("settings", {}).keys()) - known)
            if found == FORMAT and not unknown:
                return cls._from(header, arrays)
        except (DocumentError, StreamError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path} is not the state of a stream, or damaged ({error})") from error
        raise InputError(f"{path} is {_of_other_format(found, unknown)}")

    @classmethod
    def _from(cls, header: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> StreamState:
        for name, kind in (("sample_rate", int), ("channels", int), ("model", str), ("engine", str)):
            if type(header[name]) is not kind or (kind is int and header[name] < 1):
                raise ValueError(f"{name} is {quote(header[name])}")
        settings = Settings(**header.pop("settings"))
        values = _restored(header.pop("values"), arrays)
        if not _is_finite(values):
            raise ValueError("it holds NaN or infinity")
        return cls(settings=settings, values=values, **header)

    def check(self, engine: Engine, checkpoint_sha256: str, sample_rate: int, channels: int | None) -> None:
        """Check that a stream of an engine and checkpoint can continue from here.

        Args:
            sample_rate: Hz.
            channels: of the stream; None accepts any number.
        Raises:
            StreamError: the state belongs to another kind of stream, or is of another format.
        """
        if self.format != FORMAT:
            raise StreamError(f"this is {_of_other_format(self.format)}")
        sha256 = "of another checkpoint (SHA-256 {:.12}…, not {:.12}…)"
        kind = "of the engine {0}, not of {1}: load the pipeline with engine='{0}'"
        for found, wanted, words in (
            # First the rate: at another one a pipeline may have another model.
            (self.sample_rate, sample_rate, "of a stream of {} Hz, not of {} Hz"),
            (self.model, engine.name, "of the model {}, not of {}"),
            (self.checkpoint_sha256, checkpoint_sha256, sha256),
            (self.engine, engine.kind, kind),
            (self.channels, channels, "of a stream of {} channels, not of {}"),
        ):
            if wanted is not None and found != wanted:
                raise StreamError(f"this state is {words.format(found or 'none', wanted or 'none')}")


def _of_other_format(found: object, unknown: Sequence[str] = ()) -> str:
    """Return that a state is of another format, or has settings that this version does not know."""
    what = f"of format {quote(found)}, this audiotool reads {FORMAT}"
    if found == FORMAT:
        what = f"with {', '.join(map(quote, unknown[:3]))}, which this audiotool does not know"
    return f"a stream's state {what}: begin the stream anew, or go on with the version that wrote it"


def _is_finite(value: Value) -> bool:
    """Whether all numbers in a value are finite."""
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_finite, value))
    is_number = isinstance(value, np.ndarray | float | complex)
    return not is_number or bool(np.isfinite(value).all())


def _described(value: Value, arrays: dict[str, NDArray[Any]]) -> Any:
    """Return a value as JSON; its arrays are added to `arrays`, and the JSON has their names."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dict):
        return {"dict": {key: _described(inner, arrays) for key, inner in value.items()}}
    if isinstance(value, list | tuple):
        return {type(value).__name__: [_described(inner, arrays) for inner in value]}
    array, name = np.ascontiguousarray(value), f"{len(arrays):04d}"
    if np.iscomplexobj(array):
        # Older versions of safetensors know no complex numbers: a last axis holds real and imaginary parts.
        arrays[name] = np.stack((array.real, array.imag), axis=-1)
        return {"complex": name}
    arrays[name] = array.reshape(np.shape(value))
    return {"array": name}


def _restored(value: Any, arrays: dict[str, NDArray[Any]]) -> Value:
    if not isinstance(value, dict):
        if isinstance(value, list):
            raise ValueError("a list without a kind")
        return value
    ((kind, inner),) = value.items()
    if kind == "dict":
        return {key: _restored(other, arrays) for key, other in inner.items()}
    if kind in ("list", "tuple"):
        others = [_restored(other, arrays) for other in inner]
        return others if kind == "list" else tuple(others)
    if kind == "array":
        return arrays[inner]
    if kind == "complex":
        return _complex(arrays[inner])
    raise ValueError(f"a value of the kind {quote(kind)}")


def _complex(pairs: NDArray[Any]) -> NDArray[Any]:
    """(..., 2) real and imaginary parts -> complex numbers of the same precision."""
    kind = np.result_type(pairs.dtype, np.complex64)
    found: NDArray[Any] = np.ascontiguousarray(pairs).view(kind)[..., 0]
    return found
