"""Inputs that change while they are processed: recordings that still grow, files that are replaced."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

OLDER_NS = 2_000_000_000
"""How much older the outputs of a changed input become, in ns: FAT keeps times to two seconds."""


class Versions:
    """The sizes and times of inputs as they are now. Only regular files have them.

    Args:
        places: paths of the inputs, or "-".
    """

    def __init__(self, places: Sequence[str | Path]) -> None:
        self._found = {place: version for place in places if (version := _version(place)) is not None}

    def changed(self) -> list[str]:
        """Return the inputs that have changed since. One that is gone has been read, and has not."""
        return [str(place) for place, then in self._found.items() if _version(place) not in (then, None)]

    def make_no_older(self, outputs: Sequence[Path]) -> None:
        """Give outputs that are older than an input its time, so that `--skip-existing` leaves it out.

        The clock of the input's machine may be ahead, or its time in the future.
        """
        newest = max((changed_ns for _, changed_ns in self._found.values()), default=0)
        for path in outputs:
            version = _version(path)
            if version is not None and version[1] < newest:
                with suppress(OSError):
                    os.utime(path, ns=(newest, newest))

    def make_older(self, outputs: Sequence[Path]) -> None:
        """Make outputs older than the inputs were and are, so that `--skip-existing` does them again."""
        versions = [*self._found.values(), *filter(None, map(_version, self._found))]
        oldest = min(changed_ns for _, changed_ns in versions) - OLDER_NS
        for path in outputs:
            with suppress(OSError):
                os.utime(path, ns=(oldest, oldest))


def _version(place: str | Path) -> tuple[int, int] | None:
    """Return the size and the time (ns) of a regular file; None for anything else, and for no file.

    Its inode does not count: some network file systems give a file another one every time.
    """
    try:
        found = os.stat(place)
    except (OSError, ValueError):
        return None
    return (found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None
