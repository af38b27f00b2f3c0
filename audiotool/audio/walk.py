"""The files of a folder and of all below it, found in one way by every command.

Links to folders are followed. A folder is entered once, where it lies rather than where a link leads to it,
so that links in a circle end. Hidden files and folders (`.Trash`, `._talk.wav`) are left out. What is named
like a recording and is none (a named pipe, a socket, a link to nothing), and a folder that may not be read,
are left out and named in one line.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

log = logging.getLogger(__name__)

SPECIAL = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
"""File types that are no recording's, and what a message calls them."""

NAMED = 3
"""Files that the line about what was left out names; the others are counted."""


def walk(
    folder: Path, wanted: Callable[[Path], bool], entered: Callable[[Path], bool] = lambda folder: True
) -> list[Path]:
    """Every wanted file, those of one folder in the order of their names and before those of its folders.

    Args:
        folder: where to begin, itself perhaps hidden or a link.
        wanted: whether a file counts, by its path.
        entered: whether to look into a folder below.
    Returns:
        Paths that begin with `folder`, links in them as they are.
    """
    seen: set[str] = set()
    left_out: list[str] = []
    found: list[Path] = []
    links = [folder]
    while links:
        place = links.pop(0)
        if os.path.realpath(place) not in seen:
            found += _below(place, wanted, entered, seen, links, left_out)
    if left_out:
        more = f" and {len(left_out) - NAMED} more" if len(left_out) > NAMED else ""
        log.warning("left out of %s: %s%s", folder, ", ".join(left_out[:NAMED]), more)
    return found


def special_kind(path: Path) -> str | None:
    """What a path is that is neither a file nor a folder, in words; None if it is one of these."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return "a link to nothing" if path.is_symlink() else f"{error.strerror or error}"
    return None if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else SPECIAL.get(stat.S_IFMT(mode), "no file")


def _below(
    folder: Path,
    wanted: Callable[[Path], bool],
    entered: Callable[[Path], bool],
    seen: set[str],
    links: list[Path],
    left_out: list[str],
) -> Iterator[Path]:
    """The files below a folder without following links, which are added to `links`."""

    def unreadable(error: OSError) -> None:
        left_out.append(f"{error.filename} ({error.strerror or error})")

    for root, folders, names in os.walk(folder, onerror=unreadable):
        if os.path.realpath(root) in seen:
            folders.clear()
            continue
        seen.add(os.path.realpath(root))
        below = [Path(root, name) for name in sorted(folders) if not name.startswith(".")]
        below = [path for path in below if entered(path)]
        links += [path for path in below if path.is_symlink()]
        folders[:] = [path.name for path in below if not path.is_symlink()]
        for path in (Path(root, name) for name in sorted(names) if not name.startswith(".")):
            if not wanted(path):
                continue
            kind = special_kind(path)
            if kind is None:
                yield path
            else:
                left_out.append(f"{path} ({kind})")
