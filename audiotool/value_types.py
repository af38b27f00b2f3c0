"""Check plain values against the types of a class's fields or a function's arguments, strictly.

Neither "16" nor true is a number.

The types are int, float, str, bool, None, `Literal`, `Any`, dictionaries with string keys, lists, tuples,
unions and `Annotated` with a range, a pattern or a least number of items.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import math
import re
import reprlib
import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints


class _Quoting(reprlib.Repr):
    def repr_int(self, value: int, level: int) -> str:
        # Python writes no integer of more than 4300 digits.
        bits = value.bit_length()
        return super().repr_int(value, level) if bits < 10_000 else f"an integer of {bits} bits"


_quoting = _Quoting()
_quoting.maxstring = _quoting.maxother = 60
_quoting.maxlevel = 2

_NAMES = {int: "integer", float: "number", str: "string", bool: "boolean"}

_PLAIN = {
    *(*_NAMES, type(None), Any, list, tuple, dict, Mapping),
    *(Union, types.UnionType, Annotated, Ellipsis),
}


def quote(value: Any) -> str:
    """Return a value for a message, shortened, in one line (numpy writes several)."""
    return re.sub("\n *", " ", _quoting.repr(value))


class Range(NamedTuple):
    """Range of a number: >= ge, > gt, <= le, < lt."""

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None

    def problem(self, value: Any) -> str | None:
        """Return the valid values if this value is invalid, else None."""
        if self.ge is not None and value < self.ge:
            return f"should be greater than or equal to {self.ge}"
        if self.gt is not None and value <= self.gt:
            return f"should be greater than {self.gt}"
        if self.le is not None and value > self.le:
            return f"should be less than or equal to {self.le}"
        if self.lt is not None and value >= self.lt:
            return f"should be less than {self.lt}"
        return None


class Pattern(NamedTuple):
    """Pattern of a string: a regular expression that matches all of it."""

    expression: str

    def problem(self, value: Any) -> str | None:
        """Return the valid values if this value is invalid, else None."""
        return None if re.fullmatch(self.expression, value) else f"should match {self.expression}"


class Items(NamedTuple):
    """Least number of items of a list."""

    least: int

    def problem(self, value: Any) -> str | None:
        """Return the valid values if this value is invalid, else None."""
        return None if len(value) >= self.least else f"should have at least {self.least} item"


def problems(typed: Any, values: Mapping[str, Any]) -> list[str]:
    """Return a message for each field whose value is missing or invalid: key, value, and what is valid.

    Args:
        typed: a dataclass or a class of named tuples.
    """
    found = []
    for name, is_needed in _needs(typed).items():
        if name in values:
            found += _named(name, values[name], _hints(typed)[name])
        elif is_needed:
            found.append(f"{name}: is missing")
    return found


def _needs(typed: Any) -> dict[str, bool]:
    """Return whether each field of a class must be given."""
    if not dataclasses.is_dataclass(typed):
        return {name: name not in typed._field_defaults for name in typed._fields}
    return {
        field.name: field.default is field.default_factory is dataclasses.MISSING
        for field in dataclasses.fields(typed)
    }


def argument_problems(function: Any, values: Mapping[str, Any]) -> list[str]:
    """Return a message for each argument whose value is invalid: its name, the value, and what is valid.

    Arguments of other types than the plain ones take any value.
    """
    kinds = _argument_kinds(function)
    return [
        problem
        for name, value in values.items()
        if _is_plain(kinds.get(name, Any))
        for problem in _named(name, value, kinds.get(name, Any))
    ]


def tuple_arguments(function: Any) -> set[str]:
    """Return the names of the arguments that take a tuple, perhaps among other types."""
    return {name for name, kind in _argument_kinds(function).items() if _takes_tuple(kind)}


def _takes_tuple(kind: Any) -> bool:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return any(map(_takes_tuple, arguments))
    return _takes_tuple(arguments[0]) if origin is Annotated else (origin or kind) is tuple


def _named(name: str, value: Any, kind: Any) -> list[str]:
    return [
        f"{name}{place}: found {quote(wrong)}, {allowed}" for place, wrong, allowed in _check(value, kind)
    ]


def _is_plain(kind: Any) -> bool:
    """Return whether `_check` knows a type and those inside it."""
    if get_origin(kind) is Literal:
        return True
    inner = get_args(kind)[:1] if get_origin(kind) is Annotated else get_args(kind)
    return (get_origin(kind) or kind) in _PLAIN and all(map(_is_plain, inner))


@functools.lru_cache
def _hints(typed: Any) -> dict[str, Any]:
    return get_type_hints(typed, include_extras=True)


@functools.lru_cache
def _argument_kinds(function: Any) -> dict[str, Any]:
    """Return the types of a function's arguments, without those that cannot be evaluated: their names may be
    imported for type checkers alone."""
    names = getattr(inspect.unwrap(function), "__globals__", {})
    kinds: dict[str, Any] = {}
    for name, annotation in function.__annotations__.items():
        alone = types.SimpleNamespace(__annotations__={name: annotation})
        with contextlib.suppress(Exception):
            kinds |= get_type_hints(alone, names, include_extras=True)
    return kinds


Problem = tuple[str, Any, str]
"""Path in the value of a field, the value found, and the valid values."""


def _check(value: Any, kind: Any) -> list[Problem]:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return []
    if origin is Annotated:
        wrong = _check(value, arguments[0])
        limits = (limit.problem(value) for limit in arguments[1:]) if not wrong else ()
        return wrong or [("", value, limit) for limit in limits if limit is not None][:1]
    if origin in (Union, types.UnionType):
        tried = [_check(value, argument) for argument in arguments if argument is not type(None)]
        if (value is None and type(None) in arguments) or not all(tried):
            return []
        # The error deepest inside belongs to the type that the value resembles most.
        deepest = max((wrong[0][0].count(".") for wrong in tried), default=0)
        closest = [wrong[0] for wrong in tried if wrong[0][0].count(".") == deepest]
        return [
            (closest[0][0], closest[0][1], " or ".join(dict.fromkeys(allowed for *_, allowed in closest)))
        ]
    if origin is Literal:
        fits = any(type(value) is type(choice) and value == choice for choice in arguments)
        *most, last = (repr(choice) for choice in arguments)
        allowed = f"{', '.join(most)} or {last}" if most else last
        return [] if fits else [("", value, f"should be {allowed}")]
    if origin in (list, tuple):
        return _check_items(value, origin, arguments)
    if kind is dict or origin in (dict, Mapping):
        fits = isinstance(value, Mapping) and all(isinstance(key, str) for key in value)
        return [] if fits else [("", value, "should be a valid dictionary")]
    return _check_scalar(value, kind)


def _check_items(value: Any, origin: Any, arguments: tuple[Any, ...]) -> list[Problem]:
    if not isinstance(value, origin):
        return [("", value, f"should be a valid {origin.__name__}")]
    if origin is tuple and arguments[-1] is not Ellipsis and len(value) != len(arguments):
        return [("", value, f"should have {len(arguments)} items")]
    kinds = [arguments[0]] * len(value) if origin is list or arguments[-1] is Ellipsis else list(arguments)
    return [
        (f".{n}{place}", inner, allowed)
        for n, (item, kind) in enumerate(zip(value, kinds, strict=True))
        for place, inner, allowed in _check(item, kind)
    ]


def _check_scalar(value: Any, kind: Any) -> list[Problem]:
    is_number = isinstance(value, (int, float) if kind is float else int) and not isinstance(value, bool)
    fits = is_number if kind in (int, float) else isinstance(value, kind)
    if not fits:
        return [("", value, f"should be a valid {_NAMES.get(kind, kind.__name__)}")]
    if isinstance(value, float) and not math.isfinite(value):
        return [("", value, "should be a finite number")]
    return []
