"""Configurations: plain values that checkpoints, recipes and official files give, made into dataclasses.

What a configuration may hold is what its dataclass says: the type of each field, and its range as one of the
kinds below. The ranges are far beyond every published network, and end where a file could keep a computer
busy.
"""

from __future__ import annotations

import dataclasses
import functools
import reprlib
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from audiotool.discovery import nearest
from audiotool.errors import CheckpointError

ConfigT = TypeVar("ConfigT")

Rate = Annotated[int, Field(ge=1000, le=768_000)]
"""Samples a second."""

Length = Annotated[int, Field(ge=1, le=16_384)]
"""Of windows, hops and filters, in samples or taps."""

Extent = Annotated[int, Field(ge=0, le=1_048_576)]
"""Of what a network sees or remembers, in samples or frames."""

Width = Annotated[int, Field(ge=1, le=16_384)]
"""Channels or features."""

Depth = Annotated[int, Field(ge=1, le=256)]
"""Layers, heads, steps: what is repeated."""

Bands = Annotated[int, Field(ge=1, le=2048)]
"""Of a mel spectrogram."""

Whole = Annotated[int, Field(ge=0, le=16_384)]
"""A number that may be zero."""

Seed = Annotated[int, Field(ge=0, lt=2**63)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, le=1e6)]
Real = Annotated[float, Field(ge=-1e6, le=1e6)]

Seconds = Annotated[float, Field(gt=0, le=3600)]
Hertz = Annotated[float, Field(ge=0, le=384_000)]

Stem = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}$")]
"""Name of an output; it becomes part of a file's name."""

Stems = Annotated[tuple[Stem, ...], Field(min_length=1)]

STRICT = ConfigDict(strict=True, allow_inf_nan=False)
"""Numbers are numbers: "16" is none, and neither is true."""

MAX_ENTRIES = 256
"""Of a list."""

_quoting = reprlib.Repr()
_quoting.maxstring = _quoting.maxother = 60


def quote(value: Any) -> str:
    """A value as messages show it, short whatever it is."""
    return _quoting.repr(value)


def build_config(config_class: Callable[..., ConfigT], values: Mapping[str, Any], name: str) -> ConfigT:
    """Turn plain values into a config dataclass, lists becoming tuples.

    Args:
        name: what messages put before the key.
    Raises:
        CheckpointError: unknown or missing keys, values of another type or outside their range, or values
            that do not go together.
    """
    fields = [f.name for f in dataclasses.fields(config_class)]  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            hint = nearest(str(key), fields)
            raise CheckpointError(f"{name}{quote(key)[1:-1]}: unknown key{hint} Allowed: {', '.join(fields)}")
    try:
        frozen = {key: _freeze(value) for key, value in values.items()}
        check_types(config_class, frozen, name)
        return config_class(**frozen)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise CheckpointError(f"{name.rstrip('.: ')}: {error}") from error


def check_types(config_class: Callable[..., Any], values: Mapping[str, Any], name: str) -> None:
    """Compare plain values with the fields of a dataclass: types and ranges.

    Raises:
        CheckpointError: a value is missing, of another type or outside its range.
    """
    try:
        _schema(config_class).model_validate(values)
    except ValidationError as error:
        raise CheckpointError("; ".join(f"{name}{problem}" for problem in _problems(error))) from error


@functools.lru_cache
def _schema(config_class: Any) -> type[BaseModel]:
    """The dataclass's fields; pydantic itself, where it is strict, takes instances of a dataclass alone."""
    hints = get_type_hints(config_class, include_extras=True)
    fields: dict[str, Any] = {
        f.name: (
            hints[f.name],
            ... if f.default is f.default_factory is dataclasses.MISSING else None,
        )
        for f in dataclasses.fields(config_class)
    }
    return create_model(config_class.__name__, __config__=STRICT, **fields)


def _problems(error: ValidationError) -> list[str]:
    """One sentence for each value that is refused: its key, what was found, what is allowed."""
    found: dict[str, list[str]] = {}
    for finding in error.errors(include_url=False):
        # The members of a union follow the key: their names are pydantic's.
        place = [str(part) for n, part in enumerate(finding["loc"]) if n == 0 or isinstance(part, int)]
        allowed = finding["msg"].replace("Input should", "should").replace("Field required", "is missing")
        start = f"{'.'.join(place)}: "
        start += f"found {quote(finding['input'])}, " if finding["type"] != "missing" else ""
        found.setdefault(start, []).append(allowed)
    return [start + " or ".join(allowed) for start, allowed in found.items()]


def _freeze(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        return value
    if len(value) > MAX_ENTRIES:
        raise ValueError(f"a list has {len(value)} entries, at most {MAX_ENTRIES} are allowed")
    return tuple(_freeze(v) for v in value)
