"""Whether a file can be written, and why not, in words."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from audiotool.errors import InputError
from audiotool.paths import clash

if sys.platform != "win32":
    import resource

LONGEST_NAME = 255
"""Greatest length of a file name in bytes; on Windows in UTF-16 units."""

LONGEST_PATH = 259
"""Greatest length of a path on Windows, in UTF-16 units, where long paths are not switched on."""

LONGEST_FOLDER = 247
"""The same of a folder that is created."""

CAUSES = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file is larger than the file system or `ulimit -f` allows",
    errno.EROFS: "the disk is read-only",
    errno.ENOENT: "its folder was removed while the file was written",
}


def check_writable(path: Path) -> None:
    """Check that a file can be written, as far as that can be known before.

    Raises:
        InputError: it cannot; the message has the `obstacle`.
    """
    reason = obstacle(path)
    if reason is not None:
        raise InputError(f"cannot write {path}: {reason}")


def check_outputs(paths: Sequence[Path], endings: Sequence[str], kind: str) -> None:
    """Check the paths of several outputs of one kind, before any work is done.

    Args:
        endings: those that the kind has, in small letters.
        kind: word for such an output in messages ("report").
    Raises:
        InputError: a path has none of the endings, is given twice, or cannot be written.
    """
    for n, path in enumerate(paths):
        if path.suffix.lower() not in endings:
            raise InputError(f"{path}: a {kind} ends in {', '.join(endings[:-1])} or {endings[-1]}")
        if clash(paths[: n + 1]) is not None:
            raise InputError(f"{path}: two {kind}s cannot be one file")
        check_writable(path)


def obstacle(path: Path) -> str | None:
    """Return why a file cannot be written, in words, or None. Nothing is created or changed."""
    return name_obstacle(path) or folder_obstacle(path.parent)


def name_obstacle(path: Path) -> str | None:
    """Return a reason that lies in the file's name, or in what exists under it; else None."""
    if units(path.name) > LONGEST_NAME:
        unit = "characters" if sys.platform == "win32" else "bytes"
        return f"its name is longer than {LONGEST_NAME} {unit}"
    if (reason := kind_obstacle(path)) or not os.path.islink(path):
        return reason
    try:
        exists(path)
    except OSError as error:
        return cause(error)
    return folder_obstacle(behind_links(path).parent)


def kind_obstacle(path: Path) -> str | None:
    """Return what exists at a path, or behind a link, that is no file and never replaced; else None."""
    if os.path.isdir(path):
        return "it is a folder"
    if os.path.exists(path) and not os.path.isfile(path):
        return "it is a device or a pipe, not a file; '-' writes to standard output"
    return None


def folder_obstacle(folder: Path) -> str | None:
    """Return a reason that lies in the file's folder, which need not exist; else None."""
    while not os.path.exists(folder):
        folder = folder.parent
    if not os.path.isdir(folder):
        return f"{folder} is not a folder"
    if not os.access(folder, os.W_OK | os.X_OK):
        if sys.platform != "win32" and os.statvfs(folder).f_flag & os.ST_RDONLY:
            return f"the disk of {folder} is read-only"
        return f"no permission to write in {folder}"
    return None


@contextmanager
def as_input_error(path: str | Path) -> Iterator[None]:
    """Raise an `InputError` in place of an `OSError`: the file at a path cannot be written."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write {path}: {cause(error)}") from error


def cause(error: OSError) -> str:
    """Return why a file could not be written, in words."""
    if sys.platform == "win32" and error.errno == errno.ENOENT and error.filename is not None:
        # Windows says of too long a path that nothing is there.
        if units(os.path.abspath(error.filename)) > LONGEST_FOLDER:
            return f"Windows takes paths of {LONGEST_PATH} characters and folders of {LONGEST_FOLDER} at most"
    return CAUSES.get(error.errno or 0) or error.strerror or str(error)


def refusal(file: BinaryIO) -> str | None:
    """Return why the disk accepts no more data, which some libraries do not report; None if it does.

    Args:
        file: a file that will be removed: the test data is written to its end.
    """
    try:
        os.lseek(file.fileno(), 0, os.SEEK_END)
        written = 0
        while written < 1 << 16:
            written += os.write(file.fileno(), bytes((1 << 16) - written))
        os.fsync(file.fileno())
    except OSError as error:
        return cause(error)
    return None


def shortage(folder: str, more: int, size: int) -> str | None:
    """Return why a file in a folder cannot grow, which some libraries do not notice; None if it can.

    Args:
        more: number of bytes by which it grows.
        size: its size in bytes then.
    """
    with suppress(OSError):
        if shutil.disk_usage(folder).free < more:
            return CAUSES[errno.ENOSPC]
    if sys.platform != "win32":
        largest = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        if largest != resource.RLIM_INFINITY and largest < size:
            return CAUSES[errno.EFBIG]
    return None


def exists(path: Path) -> bool:
    """Whether a file exists at a path or behind a link.

    Raises:
        OSError: the system does not follow the link, because it leads in a circle, or because somebody else
            has placed it in a folder of everybody's.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def behind_links(path: Path) -> Path:
    """Return where a link at a path leads; the path itself without one, or if nobody may write there."""
    if not os.path.islink(path):
        return path
    target = Path(os.path.realpath(path))
    with suppress(OSError):
        if not target.stat().st_mode & 0o222:
            return path
    return target


def units(name: str | os.PathLike[str]) -> int:
    """Return a name's length as the system counts it."""
    if sys.platform == "win32":
        return len(os.fspath(name).encode("utf-16-le", "surrogatepass")) // 2
    return len(os.fsencode(name))
