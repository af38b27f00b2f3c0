"""Errors of the command line, which click raises: in one line, and in the words of all other errors."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from typing import Any

from typer.core import TyperGroup

from audiotool.text import nearest, one_line

NO_NUMBER = re.compile(r"'(.*)' is not a valid (float|integer)(?: range)?\.", re.DOTALL)
"""What click says of a value that is no number."""

WITH_UNIT = re.compile(r"([+-]?\d+(?:\.\d+)?)\s*(?:dB|Hz|s)", re.IGNORECASE)
"""A number with the unit in which options are."""


class Group(TyperGroup):
    """Commands below a command. An unknown one is refused with a hint, the nearest name; `help` before one is
    its `--help`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args[:1] == ["help"]:
            args = [*args[1:], "--help"]
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        word = args[0] if args else "-"
        # A shell that completes a line asks what is below its words, and shows no error.
        is_checked = not (word.startswith("-") or ctx.resilient_parsing)
        if is_checked and self.get_command(ctx, word) is None:
            ctx.fail(f"there is no command '{word}'{self.hint(ctx, word)}")
        return super().resolve_command(ctx, args)

    def hint(self, ctx: Any, word: str) -> str:
        """Return the end of the message that there is no such command."""
        return nearest(word, self.list_commands(ctx))


def is_of_click(error: Exception) -> bool:
    """Whether click raised this exception, or the copy of click in typer."""
    return type(error).__module__.partition(".")[0] in ("click", "typer")


def is_usage_error(error: Exception) -> bool:
    """Whether click found the command line wrong. Its other exceptions end the command, or print its help."""
    is_help = type(error).__name__ == "NoArgsIsHelpError"
    return is_of_click(error) and not is_help and isinstance(getattr(error, "message", None), str)


def keep_context(command: Any) -> None:
    """Let the errors of a command's words have the command, which some of click's have not."""
    own = command.parse_args

    def parse_args(ctx: Any, args: list[str]) -> Any:
        try:
            return own(ctx, args)
        except Exception as error:
            if is_usage_error(error) and getattr(error, "ctx", None) is None:
                error.ctx = ctx  # type: ignore[attr-defined]
            raise

    command.parse_args = parse_args


def describe(error: Any, words: Sequence[str]) -> str:
    """Return what is wrong with a command line, and which command lists what is right.

    Args:
        error: a usage error.
        words: the command line.
    """
    context = getattr(error, "ctx", None)
    text = _reason(error, context) + _file_hint(error, words)
    help_at = "" if context is None else f" (see {context.command_path} --help)"
    return one_line(f"error: {text}{help_at}")


def _reason(error: Any, context: Any) -> str:
    # click gives possibilities to this error alone.
    if hasattr(error, "possibilities") and hasattr(error, "option_name"):
        return f"there is no option '{error.option_name}'{_nearest(error.option_name, context)}"
    error.message = NO_NUMBER.sub(_no_number, error.message)
    text: str = error.format_message()
    return f"{text[:1].lower()}{text[1:]}".rstrip(".")


def _nearest(wrong: str, context: Any) -> str:
    parameters = [] if context is None else context.command.get_params(context)
    names = [name for p in parameters for name in (*p.opts, *p.secondary_opts) if name.startswith("--")]
    return nearest(wrong, names).rstrip(".")


def _no_number(found: re.Match[str]) -> str:
    value, kind = found.groups()
    number = WITH_UNIT.fullmatch(value)
    told = f"'{value}' is not a {'number' if kind == 'float' else 'whole number'}"
    if number is None or (kind == "integer" and "." in number[1]):
        return told
    return f"{told}: write {number[1]}"


def _file_hint(error: Any, words: Sequence[str]) -> str:
    """Return how to give a file whose name was taken for options; "" where there is none."""
    if not hasattr(error, "option_name"):
        return ""
    files = (word for word in words if word.startswith("-") and os.path.lexists(word))
    return next((f"; the file is given as {shlex.quote(f'./{name}')}" for name in files), "")
