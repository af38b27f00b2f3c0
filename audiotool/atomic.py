"""Files that appear under their names only when they are complete."""

from __future__ import annotations

import functools
import hashlib
import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from audiotool.errors import InputError

LONGEST_NAME = 255
"""Bytes that file systems take."""


class Replacement:
    """An empty file beside a place, which takes that place when it is complete.

    It is called `.NAME.PID.part`, or by its digest where that is too long; what a killed process left is
    removed by the next one that writes the same file. Missing folders are made.

    Args:
        path: the place.
    Attributes:
        temporary: the file to write.
    Raises:
        OSError: the folder cannot be written or the disk is full.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        name, ending = path.name, f".{os.getpid()}.part"
        if len(os.fsencode(f".{name}{ending}")) > LONGEST_NAME:
            name = hashlib.sha256(os.fsencode(name)).hexdigest()
        for left in _leftovers(os.path.realpath(path.parent)).pop(name, []):
            left.unlink(missing_ok=True)
        self.temporary = path.with_name(f".{name}{ending}")
        self.temporary.touch()
        self._mode = self.temporary.stat().st_mode

    def commit(self) -> None:
        """Take the place. What was written has reached the disk before an older file is given up.

        Raises:
            OSError: the folder cannot be written any more, or the disk is full.
        """
        with self.temporary.open("r+b") as file:
            os.fsync(file.fileno())
        # Some writers put a file of their own in its place, for the owner alone.
        self.temporary.chmod(self._mode)
        self.temporary.replace(self.path)

    def discard(self) -> None:
        """Remove the file, if it has not taken its place."""
        with suppress(OSError):
            self.temporary.unlink(missing_ok=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """An empty file beside `path` that takes its place when the block ends, and is gone if the block fails.

    Raises:
        OSError: as `Replacement`.
    """
    replacement = Replacement(path)
    try:
        yield replacement.temporary
        replacement.commit()
    finally:
        replacement.discard()


def write_text(path: Path, text: str) -> None:
    """Write a text file, UTF-8, line ends as they are.

    Raises:
        InputError: the folder cannot be written or the disk is full.
    """
    try:
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error


def obstacle(path: Path) -> str | None:
    """What stands against writing a file, in words; None if nothing does. Nothing is made or changed."""
    if len(os.fsencode(path.name)) > LONGEST_NAME:
        return f"its name is longer than {LONGEST_NAME} bytes"
    if path.is_dir():
        return "it is a folder"
    if path.exists() and not path.is_file():
        return "it is a device or a pipe, not a file; '-' writes to standard output"
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        return f"{folder} is not a folder"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"no permission to write in {folder}"
    return None


@functools.lru_cache(maxsize=64)
def _leftovers(folder: str) -> dict[str, list[Path]]:
    """What dead processes left in a folder, by the name it was meant for, when this one first wrote there.

    Looked for once: a folder of thousands of outputs would otherwise be read for each of them.
    """
    found = defaultdict(list)
    for path in Path(folder).glob(".*.part"):
        name, _, owner = path.name[1 : -len(".part")].rpartition(".")
        if owner.isdigit() and not _is_running(int(owner)):
            found[name].append(path)
    return found


def _is_running(process: int) -> bool:
    if os.name == "nt":
        # There the same call would interrupt the process: whatever is left stays.
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
