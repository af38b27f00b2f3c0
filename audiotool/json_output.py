"""The common form of all JSON for scripts: documents and lines begin alike and have one version.

A document (`--json`, a `.json` report) is an object:

    {"schema": 1, "audiotool": "0.2.0", "command": "models verify", ...}

A line of `--progress json` is an object with an event: {"schema": 1, "event": "done", ...}. The fields of
each are described in `docs/reference/json.md`. New fields may appear under the same version; a field that
goes or changes its meaning makes a new one.
"""

from __future__ import annotations

from typing import Any

from audiotool.text import to_json
from audiotool.version import __version__

SCHEMA = 1
"""Version of all documents and lines."""


def document(command: str, **fields: Any) -> str:
    """Return a document as indented JSON, which ends in a line break.

    Args:
        command: name of the command without "audiotool": "models list".
    """
    head = {"schema": SCHEMA, "audiotool": __version__, "command": command}
    return to_json({**head, **fields}, indent=2) + "\n"


def line(event: str, **fields: Any) -> str:
    """Return an event as JSON on one line, without a line break."""
    return to_json({"schema": SCHEMA, "event": event, **fields})
