"""What the user may have meant by inputs that do not exist."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Sequence
from pathlib import Path

from audiotool.audio.formats import is_output_name
from audiotool.discovery import closest

LONGEST = 10
"""Greatest number of words of which a name with spaces is looked for."""


def meant_by(
    missing: Sequence[str], inputs: Sequence[str], has_output: bool, endings: Collection[str]
) -> str:
    """Return the end of a message; "" where nothing comes near.

    Args:
        missing: the inputs that do not exist, one or more.
        inputs: all of the command line, in its order.
        has_output: an output is named, so that no input is meant as one.
        endings: those of the names that may be meant.
    """
    first = missing[0]
    words = inputs[inputs.index(first) :][:LONGEST]
    for count in range(2, len(words) + 1):
        name = " ".join(words[:count])
        if os.path.lexists(name):
            return f"; a name with spaces is put in quotes: {shlex.quote(name)}"
    is_second = len(inputs) == 2 and first == inputs[1] != inputs[0]
    if is_second and not has_output and is_output_name(Path(first)):
        return f"; an output is named with -o: -o {shlex.quote(first)}"
    near = _nearest(Path(first), inputs, endings)
    return "" if near is None else f"; did you mean {shlex.quote(near)}?"


def _nearest(path: Path, inputs: Sequence[str], endings: Collection[str]) -> str | None:
    """Return the path of what is named most like a file or a folder, where that would be."""
    try:
        with os.scandir(path.parent) as entries:
            names = [e.name for e in entries if e.is_dir() or Path(e.name).suffix.lower() in endings]
    except (OSError, ValueError):
        return None
    # The ending, which most names share, would make them alike.
    stems = {Path(name).stem: name for name in sorted(names, key=lambda n: Path(n).suffix == path.suffix)}
    found = closest(path.stem, list(stems))
    near = None if found is None else str(path.with_name(stems[found]))
    return None if near in inputs else near
