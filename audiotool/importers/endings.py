"""The kinds of official files, by their first bytes, because users rename them."""

from __future__ import annotations

import re
from pathlib import Path

TORCH = ".pt"

ENDINGS = {
    TORCH: re.compile(rb"PK|\x80[\x02-\x05]"),
    # The version of the format, then the name of the program or the graph.
    ".onnx": re.compile(rb"\x08.[\x12\x3a]", re.DOTALL),
    ".h5": re.compile(rb"\x89HDF\r\n\x1a\n"),
}
"""Usual name ending of a kind -> its first bytes: torch's zip files and pickles, ONNX's fields, HDF5."""


def ending_of_bytes(start: bytes) -> str | None:
    """Return the usual ending of a file that begins with `start`; None for any other kind."""
    return next((ending for ending, magic in ENDINGS.items() if magic.match(start)), None)


def ending_of(path: Path) -> str:
    """Return the usual ending (".onnx") of a file's kind; its own, in lower case, where its first bytes do
    not tell, or there is no file."""
    if not path.is_file():
        return path.suffix.lower()
    with path.open("rb") as file:
        return ending_of_bytes(file.read(8)) or path.suffix.lower()
