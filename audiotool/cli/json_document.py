"""`--json`, an option of every command, and the document that it prints, see `docs/reference/json.md`."""

from __future__ import annotations

from typing import Any

from audiotool import json_output
from audiotool.cli.screen import write
from audiotool.tasks.options import AsJson

__all__ = ["AsJson", "write_document"]


def write_document(command: str, **fields: Any) -> None:
    """Print the result of a command as a JSON document.

    Raises:
        BrokenPipeError, InputError: as `screen.write`.
    """
    write(json_output.document(command, **fields), is_json=True)
