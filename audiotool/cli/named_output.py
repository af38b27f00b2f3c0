"""Outputs that have to be files or folders with a name."""

from __future__ import annotations

from pathlib import Path

from audiotool.audio import PIPE
from audiotool.errors import PlanError


def named(path: Path | None) -> Path | None:
    """Return the path that an option was given; a callback of that option.

    Raises:
        PlanError: it is "-", which would become a file of that name.
    """
    if path is not None and str(path) == PIPE:
        raise PlanError("standard output does not take this: give -o and a name")
    return path
