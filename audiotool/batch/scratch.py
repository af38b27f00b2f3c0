"""Folders of temporary files, which do not outlive a killed process for long."""

from __future__ import annotations

import contextlib
import errno
import functools
import glob
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

if sys.platform != "win32":
    import fcntl

PREFIX = "audiotool-staged-"


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield a new folder in the system's folder of temporary files (TMPDIR); it is removed after the block.

    It is locked while it is in use. A killed process leaves a folder without a lock, which the next process
    that needs one removes. Where folders cannot be locked (Windows, some network file systems) it stays.

    Raises:
        OSError: there cannot be such a folder.
    """
    _clean_once(tempfile.gettempdir())
    while True:
        with contextlib.ExitStack() as stack:
            name = stack.enter_context(tempfile.TemporaryDirectory(prefix=PREFIX))
            try:
                stack.enter_context(_locked(name))
            except (BlockingIOError, FileNotFoundError):
                continue  # another process takes it for a leftover
            except OSError:
                pass  # without locks no process takes it for one
            yield Path(name)
            return


def remove_leftovers(place: str) -> None:
    """Remove the folders of killed processes of this user."""
    for folder in glob.glob(os.path.join(glob.escape(place), f"{PREFIX}*")):
        with contextlib.suppress(OSError), _locked(folder):
            shutil.rmtree(folder, ignore_errors=True)


@functools.lru_cache(maxsize=8)
def _clean_once(place: str) -> None:
    """Remove leftovers, once in a process."""
    remove_leftovers(place)


@contextlib.contextmanager
def _locked(folder: str) -> Iterator[None]:
    """Lock a folder of this user for the block.

    Raises:
        BlockingIOError: another process has locked it.
        FileNotFoundError: another process has removed it.
        OSError: it is no folder of this user, or folders cannot be locked here.
    """
    if sys.platform == "win32":
        raise OSError(errno.ENOLCK, "no locks")
    else:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found = os.fstat(descriptor)
            if found.st_uid != os.geteuid():
                raise PermissionError(errno.EPERM, "another user's", folder)
            if not os.path.samestat(found, os.lstat(folder)):
                raise FileNotFoundError(errno.ENOENT, "another process removed it", folder)
            yield
        finally:
            os.close(descriptor)
