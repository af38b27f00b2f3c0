"""Metavars of help in one style: a word in capitals for the value of an option, none for a flag."""

from __future__ import annotations

from typing import Any

WORDS = {
    "bool": "",
    "str": "TEXT",
    "int": "N",
    "int range": "N",
    "float": "NUMBER",
    "float range": "NUMBER",
}
"""Name of a type in typer -> metavar."""


def unify_metavars(command: Any) -> None:
    """Give the parameters of a command metavars of one style."""
    for parameter in command.params:
        _unify(parameter)
    own = command.get_params

    def get_params(ctx: Any) -> Any:
        # click adds --help and the options of completion later than the others.
        found = own(ctx)
        for parameter in found:
            _unify(parameter)
        return found

    command.get_params = get_params


def _unify(parameter: Any) -> None:
    # Older versions of typer write capitals by themselves.
    if not hasattr(parameter, "display_type"):
        return
    is_argument = parameter.param_type_name == "argument"
    if parameter.metavar is None:
        if is_argument:
            parameter.metavar = str(parameter.name).upper()
        else:
            parameter.metavar = _word(parameter)
    if is_argument:
        # The name of the argument says it already.
        parameter.display_type_rich = lambda ctx: ""


def _word(parameter: Any) -> str:
    descriptor = parameter.type_descriptor
    if descriptor.is_choice and descriptor.choices is not None:
        return "|".join(str(getattr(choice, "value", choice)) for choice in descriptor.choices)
    name = str(parameter.display_type(None)).strip("<>")
    return WORDS.get(name, name.upper())
