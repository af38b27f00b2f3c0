"""What the user may have meant by inputs that do not exist."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Sequence
from pathlib import Path

from audiotool.audio.formats import is_output_name
from audiotool.audio.near_names import near_name

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
    return near_name(Path(first), inputs, endings)
