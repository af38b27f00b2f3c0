"""Configurations: dataclasses and arguments from plain values of checkpoints, recipes and official files.

The dataclass of a configuration defines the valid values: the type of each field, and its range as one of the
kinds below. The ranges are far beyond every published network, and keep a file from outside from exhausting
time or memory. `value_types` checks the values; recipes, which are nested, are checked by pydantic.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

from audiotool.errors import CheckpointError, RecipeError
from audiotool.text import nearest
from audiotool.value_types import (
    Items,
    Pattern,
    Range,
    argument_problems,
    problems,
    quote,
    tuple_arguments,
)

ConfigT = TypeVar("ConfigT")

Rate = Annotated[int, Range(ge=1000, le=768_000)]
"""Kind: sample rate in Hz."""

Length = Annotated[int, Range(ge=1, le=16_384)]
"""Kind: length of a window, hop or filter, in samples or taps."""

Extent = Annotated[int, Range(ge=0, le=1_048_576)]
"""Kind: length of a receptive field or a state, in samples or frames."""

Width = Annotated[int, Range(ge=1, le=16_384)]
"""Kind: number of channels or features."""

Depth = Annotated[int, Range(ge=1, le=256)]
"""Kind: number of layers, heads or steps."""

Bands = Annotated[int, Range(ge=1, le=2048)]
"""Kind: number of bands of a mel spectrogram."""

Whole = Annotated[int, Range(ge=0, le=16_384)]
"""Kind: a number of at least zero."""

Seed = Annotated[int, Range(ge=0, lt=2**63)]
Fraction = Annotated[float, Range(ge=0, le=1)]
Positive = Annotated[float, Range(gt=0, le=1e6)]
NonNegative = Annotated[float, Range(ge=0, le=1e6)]
Real = Annotated[float, Range(ge=-1e6, le=1e6)]

Decibels = Annotated[float, Range(ge=-200, le=200)]
"""Kind: ratio of powers in decibels."""

Seconds = Annotated[float, Range(gt=0, le=3600)]
Hertz = Annotated[float, Range(ge=0, le=384_000)]

Stem = Annotated[str, Pattern(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}")]
"""Kind: name of an output, which becomes part of file names."""

Stems = Annotated[tuple[Stem, ...], Items(1)]

MAX_ENTRIES = 256
"""Greatest number of items of a list."""


def build_config(config_class: Callable[..., ConfigT], values: Mapping[str, Any], name: str) -> ConfigT:
    """Build a config dataclass from plain values; lists become tuples.

    Args:
        name: prefix of the key in messages.
    Raises:
        CheckpointError: a key is unknown or missing, a value is of another type or out of range, or values do
            not fit each other.
    """
    check_keys(config_class, values, name)
    try:
        plain = {key: frozen(value) for key, value in values.items()}
        check_types(config_class, plain, name)
        return config_class(**plain)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise CheckpointError(f"{name.rstrip('.: ')}: {error}") from error


def check_keys(config_class: Callable[..., Any], values: Mapping[str, Any], name: str) -> None:
    """Check that a dataclass has a field of each name.

    Raises:
        CheckpointError: it has not; the message has the nearest one.
    """
    fields = [f.name for f in dataclasses.fields(config_class)]  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            hint = nearest(str(key), fields)
            raise CheckpointError(f"{name}{quote(key)[1:-1]}: unknown key{hint} Allowed: {', '.join(fields)}")


def check_types(config_class: Callable[..., Any], values: Mapping[str, Any], name: str) -> None:
    """Check plain values against the types and ranges of a dataclass's fields.

    Raises:
        CheckpointError: a value is missing, of another type or out of range.
    """
    found = problems(config_class, values)
    if found:
        raise CheckpointError("; ".join(f"{name}{problem}" for problem in found))


def constructor_options(found: type) -> list[str]:
    """Return the names of a class's arguments, which a recipe may set."""
    return [name for name in inspect.signature(found).parameters if name not in ("args", "kwargs")]


def constructor_arguments(found: type, options: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the options of a recipe as arguments of a class; lists become tuples where a tuple is annotated.

    Args:
        name: the class's name in recipes, for messages.
    Raises:
        RecipeError: an unknown option, or a value of another type or out of range.
    """
    allowed = constructor_options(found)
    for key in options:
        if key not in allowed:
            known = ", ".join(allowed) or "none"
            raise RecipeError(f"{name}: unknown option '{key}'{nearest(key, allowed)} Allowed: {known}.")
    constructor: Any = found.__init__  # type: ignore[misc]
    tuples = tuple_arguments(constructor)
    try:
        values = {key: frozen(value) if key in tuples else value for key, value in options.items()}
    except ValueError as error:
        raise RecipeError(f"{name}: {error}") from error
    wrong = argument_problems(constructor, values)
    if wrong:
        raise RecipeError(f"{name}: {'; '.join(wrong)}")
    return values


def frozen(value: Any) -> Any:
    """Return a value with tuples in place of lists.

    Raises:
        ValueError: a list has more than `MAX_ENTRIES` items.
    """
    if not isinstance(value, list | tuple):
        return value
    if len(value) > MAX_ENTRIES:
        raise ValueError(f"a list has {len(value)} entries, at most {MAX_ENTRIES} are allowed")
    return tuple(frozen(v) for v in value)
