"""Outputs that have to be files or folders with a name, and do not replace others unasked."""

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


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Check that a command may write a file.

    Raises:
        PlanError: it exists, and the option --overwrite is not given.
    """
    if path.exists() and not overwrite:
        raise PlanError(f"{path} exists: give --overwrite to replace it")
