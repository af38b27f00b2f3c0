"""Files that appear under their names only when they are complete, and a lock between processes."""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import re
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path, PurePath
from typing import BinaryIO

from audiotool.signals import deferred
from audiotool.writable import (
    LONGEST_NAME,
    LONGEST_PATH,
    as_input_error,
    behind_links,
    exists,
    kind_obstacle,
    units,
)

if sys.platform != "win32":
    import fcntl

PART = re.compile(r"\.((.+\.)?[0-9a-f]{32}|~[0-9a-f]{8})\.part", re.DOTALL)
"""Pattern of the names of files that are not complete."""

LEFTOVER_SECONDS = 24 * 3600
"""Age from which a file that is not complete is a leftover on Windows: there files are closed for a moment
before they are renamed."""


class Replacement:
    """A new, open file that replaces the file at a path when it is complete.

    Its name is `.NAME.TOKEN.part`, shorter where that is too long, and it is always created anew, so that a
    link which somebody has placed there is never followed. The token is that of NAME, by which others know
    the file (`is_being_written`), or random where that is taken. It is locked while it is open. A killed
    process leaves a file without a lock, which the next process that writes into the folder removes. Missing
    folders are created.

    A link at the path stays, and the file that it leads to is replaced, unless nobody may write that file:
    stores whose files are named by their content (git-annex, DVC) make them read-only, and the link itself is
    replaced. An earlier file's permissions are kept, and where this process may give files away its owner and
    group.

    Args:
        path: path of the complete file.
    Attributes:
        path: where the file is renamed to, behind links; `commit` may choose another name.
        file: file for writing and reading; `commit` and `discard` close it.
    Raises:
        OSError: the folder cannot be written, the disk is full, or what is at the path is no file: as root,
            a device would be replaced, too.
    """

    def __init__(self, path: Path) -> None:
        is_there = exists(path)
        if reason := kind_obstacle(path):
            raise FileExistsError(errno.EEXIST, reason)
        self._has_ended = False
        self.path = path = behind_links(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        _clean_once(os.path.realpath(path.parent))
        with ExitStack() as undone:
            with deferred():
                # Nobody else reads what replaces a private file, before it has the same permissions either.
                self._temporary, self.file = _new_part(path, 0o600 if is_there else 0o666)
                undone.callback(self.discard)
            undone.pop_all()

    def commit(self, replaces: bool = True) -> None:
        """Rename the file to its path. Its content is on the disk before an older file is replaced.

        Args:
            replaces: False keeps a file that has appeared at the path: this one gets a free name beside it.
        Raises:
            OSError: the folder can no longer be written, or the disk is full.
        """
        self.file.flush()
        os.fsync(self.file.fileno())
        if not _is_at(self._temporary, self.file):
            raise OSError(errno.ESTALE, "another program put something in the place of the unfinished file")
        with ExitStack() as undone:
            if not replaces:
                self.path = _taken(self.path)
                undone.callback(self.path.unlink, missing_ok=True)
            _keep_rights(self.path, self.file)
            if sys.platform == "win32":
                self.file.close()
            # It is closed after the rename: without lock and name it would be removed as a leftover.
            self._temporary.replace(self.path)
            undone.pop_all()
        self._has_ended = True
        self.file.close()

    def discard(self) -> None:
        """Remove the file if it has not been committed."""
        if self._has_ended:
            return
        self._has_ended = True
        # Without lock its name may be another process's at once. But Windows removes no open file.
        steps = (self._temporary.unlink, self.file.close)
        for step in reversed(steps) if sys.platform == "win32" else steps:
            # Closing flushes the buffer, which may fail on a full disk.
            with suppress(OSError):
                step()


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a `Replacement` for `path`: it is committed when the `with` block ends, and discarded if the block
    fails.

    Raises:
        OSError: as `Replacement`.
    """
    replacement = Replacement(path)
    try:
        yield replacement.file
        replacement.commit()
    finally:
        replacement.discard()


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, with line ends unchanged; the bytes of names that are not UTF-8 are kept.

    Raises:
        InputError: the folder cannot be written or the disk is full.
    """
    with as_input_error(path), replacing(path) as file:
        file.write(text.encode(errors="surrogateescape"))


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a lock for the `with` block.

    The file is created with its folder. It stays, unless the block removes it.

    The lock ends with this process, however that ends: processes that it forks do not hold it. This process
    can hold it twice, and the end of one block ends both. Where files cannot be locked (Windows, some network
    file systems) there is none.

    Raises:
        BlockingIOError: another process holds it; with `errno.EACCES` the file system may refuse locks
            instead.
        OSError: the file cannot be created.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        if sys.platform != "win32":
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in (errno.EACCES, errno.EAGAIN):
                    raise BlockingIOError(error.errno, "another process holds it", str(path)) from error
            if not os.fstat(file.fileno()).st_nlink:
                # A third process may hold a new file of this name.
                raise BlockingIOError(errno.EAGAIN, "another process has just removed it", str(path))
        yield


@contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Let a file be known as one that `is_being_written` for the `with` block, before its `Replacement` is
    opened.

    Yields:
        Whether the file is this process's, and not one that another process writes or has claimed.
    """
    if is_being_written(path):
        yield False
        return
    try:
        claim = Replacement(path)
    except OSError:
        yield True  # whoever writes the file says why it cannot be written
        return
    try:
        yield claim._temporary == _known_part(claim.path) or not is_being_written(path)
    finally:
        claim.discard()


def is_being_written(path: Path) -> bool:
    """Whether another process writes a `Replacement` of a file. What a killed one has left is removed.

    False where files cannot be locked (Windows, some network file systems).
    """
    try:
        _remove_unlocked(str(_known_part(behind_links(path))))
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def _known_part(target: Path) -> Path:
    """Return the unfinished file of a target, if one process alone writes it."""
    return target.with_name(part_name(target, hashlib.sha256(os.fsencode(target.name)).hexdigest()[:32]))


def part_name(target: PurePath, token: str | None = None) -> str:
    """Return a name for the unfinished file of a target, a new one without a token of 32 digits."""
    token = token or os.urandom(16).hex()
    name = f".{target.name}.{token}.part"
    if sys.platform == "win32" and units(os.path.abspath(target.with_name(name))) > LONGEST_PATH:
        return f".~{token[:8]}.part"
    return name if units(name) <= LONGEST_NAME else f".{token}.part"


def remove_leftovers(folder: str) -> None:
    """Remove the unfinished files of killed processes of this user from a folder.

    Only regular files with such a name and without a lock are removed. Where files cannot be locked (some
    network file systems), none are. On Windows, which removes no open file, those older than a day are.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if PART.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                with suppress(OSError):
                    _remove_unlocked(entry.path)


@functools.lru_cache(maxsize=64)
def _clean_once(folder: str) -> None:
    """Remove the leftovers of a folder, once in a process, because listing a large folder takes long."""
    remove_leftovers(folder)


def _taken(path: Path) -> Path:
    """Take a path by an empty file, or where something is there a free name beside it (NAME-2.wav); return
    the path that was taken."""
    place, number = path, 1
    while True:
        try:
            place.touch(exist_ok=False)
            return place
        except FileExistsError:
            number += 1
            place = path.with_name(f"{path.stem}-{number}{path.suffix}")


def _keep_rights(earlier: Path, file: BinaryIO) -> None:
    """Give a file the permissions, the group and the owner of the file that it will replace, if there is one.

    Where the group cannot be kept, this process's group gets what others had.
    """
    if sys.platform == "win32":
        return
    try:
        former = earlier.stat()
    except FileNotFoundError:
        return
    descriptor, mode = file.fileno(), former.st_mode & 0o777
    for uid, gid in ((-1, former.st_gid), (former.st_uid, -1)):
        with suppress(OSError):
            os.fchown(descriptor, uid, gid)
    if os.fstat(descriptor).st_gid != former.st_gid:
        mode = mode & ~0o070 | (mode & 0o007) << 3
    # Some file systems have no permissions.
    with suppress(OSError):
        os.fchmod(descriptor, mode)


def _new_part(target: Path, mode: int) -> tuple[Path, BinaryIO]:
    """Create and open the unfinished file beside its target, with a mode that the umask restricts."""

    def created(path: str, flags: int) -> int:
        return os.open(path, flags, mode)

    path = _known_part(target)
    while True:
        try:
            file = open(path, "x+b", opener=created)  # noqa: SIM115 - the replacement closes it
        except FileExistsError:
            path = target.with_name(part_name(target))
            continue
        try:
            _lock(file.fileno())
        except BlockingIOError:
            pass  # another process takes it for a leftover, and is about to remove it
        except OSError:
            # The file system has no locks, so that no process removes the file as a leftover.
            return path, file
        else:
            if _is_at(path, file):
                return path, file
        # Another process removes it, or removed it as a leftover before it was locked.
        file.close()


def _is_at(path: Path, file: BinaryIO) -> bool:
    """Whether the open file is the one at this path.

    Raises:
        FileNotFoundError: the file and its folder do not exist.
    """
    try:
        return os.path.samestat(os.lstat(path), os.fstat(file.fileno()))
    except FileNotFoundError:
        os.lstat(path.parent)
        return False


def _lock(descriptor: int) -> None:
    """Lock a file for this process.

    Raises:
        BlockingIOError: another process has locked it.
        OSError: files cannot be locked here.
    """
    if sys.platform != "win32":
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    else:
        raise OSError(errno.ENOLCK, "no locks")


def _remove_unlocked(path: str) -> None:
    if sys.platform == "win32":
        if os.stat(path).st_mtime < time.time() - LEFTOVER_SECONDS:
            os.unlink(path)
        return
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _lock(descriptor)
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_nlink == 1:
            os.unlink(path)
    finally:
        os.close(descriptor)
