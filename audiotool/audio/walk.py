"""Find the files of a folder and all folders below, in the same way for every command.

Links to folders are followed. A folder is entered once, at its own path and not at that of a link, so that
circular links end. Hidden files and folders (`.Trash`, `._talk.wav`) are left out, and those of the system.
Special files with the name of a recording (a named pipe, a socket, a broken link) are left out and named in
one line of the log, and so are folders that cannot be read, unless the caller takes these. Another line names
recordings that only an extra can read.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from audiotool.audio.formats import INSTALL_PYAV, MEDIA_ENDINGS, has_pyav, is_media_name, needs_media
from audiotool.text import listed

log = logging.getLogger(__name__)

SPECIAL = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
"""Types of special files -> their names in messages."""

OF_SYSTEM = ("lost+found", "System Volume Information", "$RECYCLE.BIN")
"""Folders at the top of disks, which hold no recordings of the user's and mostly cannot be read."""

MEDIA_CLAUSE = f"; {', '.join(MEDIA_ENDINGS[:3])} and the like are read after `{INSTALL_PYAV}`"
"""What an error adds where recordings need PyAV."""


def walk(
    folder: Path,
    wanted: Callable[[Path], bool],
    entered: Callable[[Path], bool] = lambda folder: True,
    denied: dict[Path, str] | None = None,
) -> list[Path]:
    """Return all wanted files: those of one folder in the order of their names, before those of its folders.

    Args:
        folder: the first folder, which may be hidden or a link.
        wanted: function from a path to whether the file is returned.
        entered: function from a path to whether a folder below is entered.
        denied: gets folder -> reason of each that cannot be read, in place of the log.
    Returns:
        Paths that begin with `folder`, with links unresolved. What is in a folder that may not be searched is
        among them: whoever reads it says why it cannot.
    """
    left_out: list[str] = []
    unread: list[str] = []
    found: list[Path] = []
    unreadable: dict[Path, str] = {} if denied is None else denied
    for root, names in _folders(folder, entered, unreadable):
        for path in (Path(root, name) for name in sorted(names) if not name.startswith(".")):
            if not wanted(path):
                unread += [str(path)] if needs_media(path) else []
            elif (kind := special_kind(path)) is None:
                found.append(path)
            else:
                left_out.append(f"{path} ({kind})")
    if denied is None:
        left_out += [f"{path} ({reason})" for path, reason in unreadable.items()]
    if left_out:
        log.warning("left out of %s: %s", folder, listed(left_out))
    # Where nothing is found, the caller's error says so, with `media_hint`.
    if unread and found:
        warn_of_media(unread)
    return found


def _folders(
    first: Path, entered: Callable[[Path], bool], denied: dict[Path, str]
) -> Iterator[tuple[str, list[str]]]:
    """Yield each folder and the names of its files, once: links to folders after all that are no links.

    Folders that cannot be read are added to `denied`, with the reason.
    """

    def unreadable(error: OSError) -> None:
        denied[Path(error.filename)] = _words(error)

    seen: set[str] = set()
    links = [first]
    for link in links:
        for root, folders, names in os.walk(link, onerror=unreadable):
            real = os.path.realpath(root)
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            shown = [name for name in sorted(folders) if not name.startswith(".") and name not in OF_SYSTEM]
            below = [path for path in (Path(root, name) for name in shown) if entered(path)]
            links += [path for path in below if os.path.islink(path)]
            folders[:] = [path.name for path in below if not os.path.islink(path)]
            yield root, names


def warn_of_media(paths: Sequence[str | Path]) -> None:
    """Log which recordings are left out because PyAV is not installed, and the command that installs it."""
    log.warning("left out: %s, until `%s` lets them be read", listed(list(map(str, paths))), INSTALL_PYAV)


def media_hint(folder: Path) -> str:
    """Return a clause for an error: which extra to install, where a folder has recordings that only it can
    read; "" for any other folder."""
    # An earlier walk has named what cannot be read.
    return MEDIA_CLAUSE if not has_pyav() and walk(folder, is_media_name, denied={}) else ""


def special_kind(path: Path) -> str | None:
    """Return the kind of a special file in words, None for a file or a folder, and for what cannot be looked
    at, of which its reader says why."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return "a link to nothing" if os.path.islink(path) else None
    return None if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else SPECIAL.get(stat.S_IFMT(mode), "no file")


def _words(error: OSError) -> str:
    return "no permission" if isinstance(error, PermissionError) else error.strerror or str(error)
