"""Paragraphs of help without the line breaks of docstrings, so that a terminal of any width wraps them."""

from __future__ import annotations

from typing import Any

EXAMPLES = ("audiotool ", "sox ", "torchrun ")
"""Beginnings of paragraphs of commands, each of which keeps its line."""


def flow(command: Any) -> None:
    """Join the lines of each paragraph of the help of a command."""
    if command.help:
        command.help = "\n\n".join(map(_joined, command.help.split("\n\n")))


def _joined(paragraph: str) -> str:
    lines = [line.strip() for line in paragraph.split("\n")]
    return "\n".join(lines) if lines[0].startswith(EXAMPLES) else " ".join(lines)
