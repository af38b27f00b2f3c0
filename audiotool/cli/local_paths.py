"""Parameters of the type `Path` refuse URLs, of which they would make paths below the current folder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from audiotool.paths import refuse_url

PATHS = ("path", "file", "directory")
"""Names of click's types of paths."""


def refuse_urls(command: Any) -> None:
    """Let the parameters of a command that are paths refuse URLs."""
    for parameter in command.params:
        for kind in getattr(parameter.type, "types", [parameter.type]):
            if kind.name in PATHS:
                kind.convert = _refusing(kind.convert, _name(parameter))


def _refusing(convert: Callable[..., Any], name: str) -> Callable[..., Any]:
    def converted(value: Any, param: Any, ctx: Any) -> Any:
        refuse_url(value, f"{name} takes a path")
        return convert(value, param, ctx)

    return converted


def _name(parameter: Any) -> str:
    """Return the first long name of an option, or an argument as help has it."""
    if parameter.param_type_name == "argument":
        return (parameter.metavar or str(parameter.name).upper()).rstrip(".")
    return next((name for name in parameter.opts if name.startswith("--")), parameter.opts[0])
