"""Fetch and send recordings of object stores by URL (s3://, gs://, memory://), through fsspec.

A recording is fetched as a whole before it is read, because readers seek. An output is sent when it is
complete, in one request that the store does completely or not at all.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from audiotool.audio.formats import needs_media
from audiotool.audio.walk import MEDIA_CLAUSE, warn_of_media
from audiotool.errors import InputError
from audiotool.extras import install, require
from audiotool.text import without_credentials

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

CHAIN = "::"
"""Chains file systems in fsspec, which is not allowed: a file name from outside could reach other systems."""


def name_of(url: str) -> PurePosixPath:
    """Return the last part of a URL, which is the file's name."""
    return PurePosixPath(without_credentials(url).rsplit("/", 1)[-1])


def find(url: str, endings: Collection[str]) -> list[tuple[str, PurePosixPath]]:
    """Return the recordings at a URL, each with its path below the URL, in sorted order.

    Args:
        url: URL of a recording, or of a folder: all files below it with one of the endings, none hidden.
    Raises:
        InputError: the store cannot be reached, or has nothing there.
    """
    store, path = _open(url)
    try:
        if store.isfile(path):
            return [(url, name_of(url))]
        found = sorted(store.find(path))
        if not found and _is_web(url):
            # To fsspec a web server that cannot be reached, or refuses, has no files. This raises the reason.
            store.info(path)
    except Exception as error:
        raise _unusable(url, error) from error
    folder = PurePosixPath(path)
    below = [PurePosixPath(p).relative_to(folder) for p in found if PurePosixPath(p).is_relative_to(folder)]
    shown = [place for place in below if not any(part.startswith(".") for part in place.parts)]
    wanted = [place for place in shown if place.suffix.lower() in endings]
    unread = [f"{url.rstrip('/')}/{place}" for place in shown if needs_media(str(place))]
    if not wanted:
        raise InputError(f"no recordings in {url}{MEDIA_CLAUSE if unread else ''}")
    if unread:
        warn_of_media(unread)
    return [(f"{url.rstrip('/')}/{place}", place) for place in wanted]


def exists(url: str) -> bool:
    """Whether an object exists.

    Raises:
        InputError: the store cannot be reached.
    """
    store, path = _open(url)
    try:
        return bool(store.exists(path))
    except Exception as error:
        raise _unusable(url, error) from error


def fetch(url: str, path: Path) -> None:
    """Copy an object to a file.

    Raises:
        InputError: the object does not exist, or the store cannot be reached.
    """
    store, source = _open(url)
    try:
        store.get_file(source, str(path))
    except Exception as error:
        raise _unusable(url, error) from error


def send(path: Path, url: str) -> None:
    """Copy a file to an object, completely or not at all.

    Raises:
        InputError: the store cannot be reached, or refuses the object.
    """
    store, target = _open(url)
    try:
        store.makedirs(store._parent(target), exist_ok=True)
        store.put_file(str(path), target)
    except Exception as error:
        raise _unusable(url, error) from error


def _open(url: str) -> tuple[AbstractFileSystem, str]:
    require("fsspec", f"{url}:")
    import fsspec

    if CHAIN in url:
        raise InputError(f"{url}: an address is one URL, without '{CHAIN}'")
    try:
        store, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        # The message of fsspec names the package of the protocol.
        how = f"; `{install('remote')}`" if "s3fs" in str(error) else ""
        raise InputError(f"{url}: {error}{how}") from error
    except Exception as error:
        raise _unusable(url, error) from error
    return store, path


def _is_web(url: str) -> bool:
    return url.lower().startswith(("http://", "https://"))


def _unusable(url: str, error: BaseException) -> InputError:
    """Return the error to raise for one of a store: stores have errors of their own, except for missing
    objects."""
    if _is_web(url) and isinstance(error, FileNotFoundError) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, FileNotFoundError):
        return InputError(f"{url}: there is no such object")
    detail: Any = str(error).strip() or type(error).__name__
    return InputError(f"{url}: {detail}")
