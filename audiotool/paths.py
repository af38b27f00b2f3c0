"""Paths as libraries take them: a file's name is bytes, and need not be UTF-8."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from audiotool.text import composed


@contextlib.contextmanager
def in_utf8(path: str | Path) -> Iterator[str]:
    """A path that is UTF-8, for a library that takes no other (safetensors): of the file itself, opened.

    Raises:
        OSError: the name is not UTF-8, and the file cannot be opened.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        with open(path, "rb") as file:
            yield f"/dev/fd/{file.fileno()}"
    else:
        yield str(path)


def like_named(path: Path) -> Path:
    """The file or folder at a path, or the one there whose name looks equal (é is one character, or two).

    The path itself where there is none.
    """
    if path.exists() or path.parent == path:
        return path
    folder, wanted = like_named(path.parent), composed(path.name)
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            if composed(name) == wanted:
                return folder / name
    return path
