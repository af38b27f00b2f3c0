"""Read JSON from untrusted files, of limited size and depth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MAX_BYTES = 16_000_000
"""Greatest size of most documents in bytes."""
MAX_DEPTH = 50
"""Greatest number of levels of lists and objects."""


class DocumentError(ValueError):
    """Raised for an invalid document.

    Attributes:
        line: line of the fault, from 1; None if it is not known.
    """

    def __init__(self, problem: str, line: int | None = None) -> None:
        super().__init__(problem)
        self.line = line


def read_text(path: Path, limit: int = MAX_BYTES) -> str:
    """Return the text of a file of `limit` bytes at most.

    Raises:
        DocumentError: the file cannot be read, is not UTF-8, or is too long.
    """
    try:
        if path.stat().st_size > limit:
            raise DocumentError(f"it has {path.stat().st_size} bytes, at most {limit} are read")
        content = path.read_bytes()
    except OSError as error:
        raise DocumentError(error.strerror or str(error)) from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        kind = "UTF-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "of another encoding, or not text"
        raise DocumentError(f"it is not UTF-8 but {kind}: save it as UTF-8") from error


def read_json(text: str) -> Any:
    """Return the values of a JSON text.

    Raises:
        DocumentError: it is not JSON, or nested too deeply.
    """
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise DocumentError(str(error), error.lineno) from error
    except (ValueError, RecursionError) as error:
        raise DocumentError("it is nested too deeply, or holds an enormous number") from error
    _check_depth(values, 0)
    return values


def _check_depth(value: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise DocumentError(f"it has more than {MAX_DEPTH} levels")
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            _check_depth(inner, depth + 1)
