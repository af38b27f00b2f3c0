"""`--json`: the option of every command, and the document that it then prints: `docs/reference/json.md`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from audiotool import json_output
from audiotool.cli.screen import write

AsJson = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON document, not text."),
]


def write_document(command: str, **fields: Any) -> None:
    """Print the answer of a command for scripts.

    Raises:
        BrokenPipeError, InputError: as `screen.write`.
    """
    write(json_output.document(command, **fields))
