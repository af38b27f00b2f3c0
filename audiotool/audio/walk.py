"""Find the files of a folder and all folders below, in the same way for every command.

Links to folders are followed. A folder is entered once, at its own path and not at that of a link, so that
circular links end. Hidden files and folders (`.Trash`, `._talk.wav`) are left out. Special files with the
name of a recording (a named pipe, a socket, a broken link), and folders that may not be read, are left out
and named in one line of the log.
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
"""Types of special files -> their names in messages."""

NAMED = 3
"""Number of files that the line on left-out files names; the others are counted."""


def walk(
    folder: Path, wanted: Callable[[Path], bool], entered: Callable[[Path], bool] = lambda folder: True
) -> list[Path]:
    """Return all wanted files: those of one folder in the order of their names, before those of its folders.

    Args:
        folder: the first folder, which may be hidden or a link.
        wanted: function from a path to whether the file is returned.
        entered: function from a path to whether a folder below is entered.
    Returns:
        Paths that begin with `folder`, with links unresolved.
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
    """Return the kind of a special file in words, None for a file or a folder."""
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
    """Return the files below a folder without following links, which are added to `links`."""

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
