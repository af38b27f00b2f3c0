"""Help as plain text where the terminal is narrow: rich's tables cut names and values of options there."""

from __future__ import annotations

from typing import Any

from audiotool.cli.paragraphs import EXAMPLES
from audiotool.cli.screen import console

LEAST_WIDTH = 80
"""Width in characters from which on rich's tables hold all names and values."""


def plain_where_narrow(command: Any) -> None:
    """Let the help of a command be plain text in a terminal of less than `LEAST_WIDTH` characters."""
    own = command.get_help

    def get_help(ctx: Any) -> Any:
        # typer would not look at the terminal where standard output is a pager.
        ctx.terminal_width = console().width
        if ctx.terminal_width < LEAST_WIDTH:
            command.rich_markup_mode = None
            command.help = "\n\n".join(map(_kept, _paragraphs(command)))
            for name in getattr(command, "list_commands", lambda _: ())(ctx):
                below = command.get_command(ctx, name)
                # Otherwise typer cuts it to a line.
                below.short_help = _paragraphs(below)[0]
        return own(ctx)

    command.get_help = get_help


def _paragraphs(command: Any) -> list[str]:
    return (command.help or "").split("\n\n")


def _kept(paragraph: str) -> str:
    """Mark a paragraph of examples as one whose lines are not joined."""
    return f"\b\n{paragraph}" if paragraph.startswith(EXAMPLES) else paragraph
