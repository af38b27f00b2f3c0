"""Paths and URLs from outside: which of the two a text is, how this system spells it, and which of them lead
to one file. The name of a file consists of bytes, which may not be UTF-8."""

from __future__ import annotations

import contextlib
import itertools
import os
import posixpath
import re
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath, PurePosixPath
from typing import TypeAlias

from audiotool.errors import InputError, PlanError
from audiotool.text import composed

MISSING = "no such file or folder"
"""What `absence` says of a path at which nothing is."""

UNUSABLE_NAMES = (21, 123, 1921)
"""Windows' codes for names that no file can have, such as patterns, and for places that are not ready."""

_UNSTORABLE = re.compile(
    r'[\0-\x1f<>:"/\\|?*]|[. ]$|^(?=(?:con|prn|aux|nul|(?:com|lpt)[0-9\xb9\xb2\xb3]) *(?:\.|$)).',
    re.IGNORECASE,
)
"""What Windows has in no name: signs, a dot or a space at the end, the first letter of a device's name."""

_LOCAL_URL = re.compile(r"(?:file|local)://(?=.)")
"""Beginning of a URL of a file of this machine."""

ONE_STORE = {"s3a": "s3", "gcs": "gs", "az": "abfs", "abfss": "abfs", "ssh": "sftp"}
"""Protocols of URLs -> others that reach the same objects."""

FILE_STORES = ("ftp", "hdfs", "sftp", "smb", "webhdfs")
"""Protocols of other machines' file systems, where "/./" is "/". To other stores a key is any text."""

Trial: TypeAlias = tuple[str, str, str]
"""A folder, and two names that differ in case or Unicode normalisation alone."""

_URL = r"[A-Za-z][A-Za-z0-9+.-]+://[^\0]+"


def is_url(place: object) -> bool:
    """Whether a text is a URL (s3://bucket/talk.wav) and not a path."""
    return isinstance(place, str) and "://" in place and re.fullmatch(_URL, place) is not None


def without_file_protocol(place: str) -> str:
    """Return the path of a URL of this machine (file://, local://), as fsspec understands it; any other place
    as it is."""
    found = _LOCAL_URL.match(place)
    if found is None:
        return place
    path = os.path.expanduser(place[found.end() :])
    # file:///C:/talk.wav
    return path[1:] if sys.platform == "win32" and re.match(r"/[A-Za-z]:", path) else path


def resolved(place: str | Path) -> str:
    """Return what all names of one place share, which need not exist.

    It is `os.path.realpath` of a path and of a file:// URL, and of another one a URL with one of the
    protocols that reach the same object.
    """
    place = without_file_protocol(os.fspath(place))
    if not is_url(place):
        return os.path.realpath(place)
    protocol, _, rest = place.partition("://")
    protocol = ONE_STORE.get(protocol, protocol)
    if protocol in FILE_STORES:
        host, _, path = rest.partition("/")
        rest = host + posixpath.normpath(f"/{path.lstrip('/')}")  # above a root there is none
    return f"{protocol}://{rest.rstrip('/')}"


def place_of_key(key: str) -> PurePosixPath:
    """Return the path below a folder for an object's key, which is any text: it leads out of no folder."""
    parts = posixpath.normpath(key).split("/")
    return PurePosixPath(*[part for part in parts if part not in ("", os.pardir)])


def refuse_url(place: object, what: str) -> None:
    """Check that a place is no URL, of which a `Path` would make the path of another file.

    Args:
        what: what takes no URL, for the message ("--report takes a path").
    Raises:
        PlanError: it is one.
    """
    if isinstance(place, str) and is_url(place):
        path = without_file_protocol(place)
        hint = "only the inputs and outputs of a batch may be in a store" if path == place else f"give {path}"
        raise PlanError(f"{what}, and {place} is a URL: {hint}")


def as_path(place: object) -> str | Path:
    """Return a user's path or URL; that of any other kind of path than `Path` as a str.

    Raises:
        InputError: it is no path.
    """
    if isinstance(place, (str, Path)):
        return place
    name = os.fspath(place) if isinstance(place, os.PathLike) else None
    if not isinstance(name, str):
        raise InputError(f"a path is a str or a Path, got {type(place).__name__}")
    return name


def local_path(place: object) -> str | Path:
    """Return a user's path of a local file.

    Raises:
        InputError: it is no path, empty, a URL, or a name that no file can have.
    """
    path = as_path(place)
    name = str(path)
    if not name:
        raise InputError("a path is empty")
    if is_url(name):
        raise InputError(f"{name} is a URL, and functions read and write local files; commands take URLs")
    try:
        is_possible = b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:
        is_possible = False
    if not is_possible:
        raise InputError(f"no file can be named {name!a}")
    return path


@contextlib.contextmanager
def in_utf8(path: str | Path) -> Iterator[str]:
    """Yield a path in UTF-8 for a library that accepts no other (safetensors); if the name is not UTF-8, one
    that refers to the open file.

    Raises:
        OSError: the name is not UTF-8, and the file cannot be opened.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        with open(path, "rb") as file:
            yield f"/dev/fd/{file.fileno()}"
    else:
        yield str(path)


def path_from(folder: str | Path, path: str | Path) -> Path:
    """Return the relative path from a folder to a file; the absolute one to another drive of Windows."""
    try:
        return Path(os.path.relpath(path, folder))
    except ValueError:
        return Path(os.path.abspath(path))


def like_named(path: Path) -> Path:
    """Return the file or folder at a path, or the one whose name looks equal (é is one character, or two).

    If there is none, the path itself is returned.
    """
    if os.path.exists(path) or path.parent == path:
        return path
    folder, wanted = like_named(path.parent), composed(path.name)
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            if composed(name) == wanted:
                return folder / name
    return path


def absence(path: str | Path) -> str | None:
    """Return why nothing can be found at a path, in words; None if something is there.

    The methods of `Path` raise an error where a folder may not be searched or a path is too long, and one
    such name must not stop a batch. Those of `os.path` take it for missing, as the messages must not.
    """
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return MISSING
    except PermissionError:
        return "no permission to search its folder"
    except OSError as error:
        if getattr(error, "winerror", None) in UNUSABLE_NAMES:
            return MISSING
        return error.strerror or str(error)
    return None


def is_fifo(path: str | Path) -> bool:
    """As `Path.is_fifo`; False where it would raise an error."""
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def storable(relative: PurePath) -> Path:
    """Return a relative path as this system can store it: on Windows, %3A stands for a colon in a name.

    Names from outside, such as the keys of object stores, may hold what Windows takes for another folder, a
    drive or a device.
    """
    if sys.platform != "win32":
        return Path(relative)
    return Path(*map(_storable_name, relative.parts))


def _storable_name(name: str) -> str:
    if name in (os.curdir, os.pardir):
        return name
    return _UNSTORABLE.sub(lambda found: f"%{ord(found[0]):02X}", name)


def folded(name: str) -> str:
    """Return a name or path as file systems that ignore case and normalisation compare it: letter by letter,
    so that ß is no ss, as it is to `casefold`."""
    if name.isascii():
        return name.lower()
    name = composed(name)
    text = name.casefold()
    if len(text) == len(name):
        return text
    letters = ((letter, letter.casefold()) for letter in name)
    return "".join(one if len(one) == 1 else letter.lower() for letter, one in letters)


def are_one(first: str, second: str) -> bool:
    """Whether two resolved paths lead to one file or folder: they are equal, or they differ in case or
    normalisation alone and their file system does not tell them apart."""
    if first == second:
        return True
    try:
        return folded(first) == folded(second) and os.path.samefile(first, second)
    except OSError:
        return False


def are_two(first: str, second: str, tried: dict[Trial, bool]) -> bool:
    """Whether a file system can hold two files whose resolved paths differ in case or normalisation alone.

    As `are_one`, but the files need not exist. Stores tell any two names apart.

    Args:
        tried: a cache, for the many files of two such folders.
    """
    if is_url(first):
        return True
    place = os.path.commonpath([first, second])
    name, other = (os.path.relpath(path, place).split(os.sep)[0] for path in (first, second))
    trial = (place, name, other)
    if trial not in tried:
        tried[trial] = _can_hold(*trial)
    return tried[trial]


def _can_hold(place: str, name: str, other: str) -> bool:
    """Return whether a folder, which need not exist, can hold two names. Where it has neither, it is tried in
    the folder, or above it; where it cannot be tried, they count as one."""
    paths = [os.path.join(place, one) for one in (name, other)]
    there = list(map(os.path.exists, paths))
    if any(there):
        return not (all(there) and os.path.samefile(*paths))
    while not os.path.isdir(place):
        place = os.path.dirname(place)
    try:
        with tempfile.TemporaryDirectory(prefix=".audiotool-", dir=place) as folder:
            Path(folder, name).touch()
            return not os.path.lexists(os.path.join(folder, other))
    except OSError:
        return False


def clash(paths: Sequence[str | Path]) -> tuple[str, str] | None:
    """Return the first two of several paths, as written, that are one file; None if all are files of their
    own.

    The files need not exist. A file has several paths by links, by `..`, and as `are_two` says.
    """
    folders = Folders()
    reals = [(str(path), folders.real(path)) for path in paths]
    for (first, real), (second, other) in itertools.combinations(reals, 2):
        if folded(real) == folded(other) and (real == other or not are_two(real, other, {})):
            return first, second
    return None


def is_below(path: str, folder: str) -> bool:
    """Whether a resolved place is a resolved folder's, or lies below it, as `are_one` compares them."""
    if is_url(folder) or is_url(path):
        return f"{path}/".startswith(f"{folder}/")
    # Neither case nor normalisation changes the number of parts.
    return are_one(str(Path(*Path(path).parts[: len(Path(folder).parts)])), folder)


class Folders:
    """Cached facts of the folders of many files, read once a folder.

    The folders must not change while this is in use.
    """

    def __init__(self) -> None:
        self._real: dict[str, str] = {}
        self._there: dict[str, bool] = {}

    def real(self, path: str | Path) -> str:
        """Return a place `resolved`."""
        if is_url(path):
            return resolved(path)
        folder, name = os.path.split(path)
        if name in ("", os.curdir, os.pardir):
            return os.path.realpath(path)
        if folder not in self._real:
            self._real[folder] = os.path.realpath(folder)
        real = os.path.join(self._real[folder], name)
        return os.path.realpath(real) if self._is_there(folder) and os.path.islink(real) else real

    def holds(self, path: str | Path) -> bool:
        """As `os.path.exists`."""
        return self._is_there(os.path.dirname(path)) and os.path.exists(path)

    def _is_there(self, folder: str) -> bool:
        if folder not in self._there:
            self._there[folder] = os.path.isdir(folder or os.curdir)
        return self._there[folder]
