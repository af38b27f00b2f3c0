"""What a path that does not exist may have been meant as."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection
from pathlib import Path

from audiotool.audio.formats import readable_endings
from audiotool.text import closest


def near_name(missing: Path, others: Collection[str] = (), endings: Collection[str] | None = None) -> str:
    """Return the end of a message: what is named most like a file or a folder, where that would be; "" if
    nothing is.

    Args:
        missing: a path at which nothing is.
        others: paths that are not meant, because the user named them, too.
        endings: those of the files that may be meant, in lower case; None is all recordings that can be read.
    """
    endings = readable_endings() if endings is None else endings
    try:
        with os.scandir(missing.parent) as entries:
            names = [e.name for e in entries if e.is_dir() or Path(e.name).suffix.lower() in endings]
    except (OSError, ValueError):
        return ""
    # The ending, which most names share, would make them alike.
    stems = {Path(n).stem: n for n in sorted(names, key=lambda n: Path(n).suffix == missing.suffix)}
    found = closest(missing.stem, list(stems))
    near = None if found is None else str(missing.with_name(stems[found]))
    return "" if near is None or near in others else f"; did you mean {shlex.quote(near)}?"
