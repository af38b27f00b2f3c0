"""Outputs that have to be files or folders with a name, and do not replace others unasked."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
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


def refuse_foreign(reports: Sequence[Path], used: Iterable[str | Path | None], overwrite: bool) -> None:
    """Check that reports replace only earlier reports, which the same command renews when it is given again.

    Args:
        used: what the command reads or writes besides; what is no file that exists is passed over.
        overwrite: whether any other file may be replaced, too.
    Raises:
        PlanError: a report would replace a file that is used, or, without `overwrite`, one that is no report.
    """
    there = {same: path for path in reports if (same := _identity(path)) is not None}
    if not there:
        return
    from audiotool.report.write import is_report

    for place in used:
        same = None if place is None else _identity(place)
        if same is not None and same in there:
            raise PlanError(f"{there[same]} is read or written by this command already: choose another name")
    for path in there.values():
        if not overwrite and not is_report(path):
            raise PlanError(f"{path} exists, and is no report: choose another name, or give --overwrite")


def _identity(place: str | Path) -> tuple[int, int] | None:
    """Return what two names of one file share; None where there is no file."""
    try:
        found = os.stat(place)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino
