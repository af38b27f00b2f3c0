"""Fetch and send recordings of stores by URL (s3://, gs://, sftp://), through fsspec.

A recording is fetched as a whole before it is read, because readers seek. An output is sent when it is
complete. Object stores take it in one request, which they do completely or not at all; in stores of files it
gets its name when all of it is there.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from audiotool.atomic import part_name
from audiotool.audio.formats import needs_media
from audiotool.audio.walk import MEDIA_CLAUSE, warn_of_media
from audiotool.errors import DependencyError, InputError, PlanError
from audiotool.extras import install, require
from audiotool.paths import is_below, place_of_key, resolved
from audiotool.text import without_credentials, without_those_of

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

CHAIN = re.compile(r"::[A-Za-z][A-Za-z0-9+.-]*://")
"""What chains file systems in fsspec. Here no address does: a file name from outside could reach others."""

OBJECT_STORES = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss")
"""Protocols of stores that take an object completely or not at all."""


def name_of(url: str) -> PurePosixPath:
    """Return the last part of a URL, which is the file's name."""
    return PurePosixPath(without_credentials(url).rsplit("/", 1)[-1])


def find(
    url: str, endings: Collection[str], excluded: Collection[str] = ()
) -> list[tuple[str, PurePosixPath]]:
    """Return the recordings at a URL, each with its path below the URL, in sorted order.

    Args:
        url: URL of a recording, or of a folder: all files below it with one of the endings, none hidden.
        excluded: places whose recordings below that folder are left out, as `paths.resolved` returns them.
    Raises:
        InputError: the store cannot be reached, or has nothing there.
    """
    check_input(url)
    with _opened(url) as (store, path):
        if store.isfile(path):
            return [(url, name_of(url))]
        found = sorted(store.find(path))
        if not found and _is_web(url):
            # To fsspec a web server that cannot be reached, or refuses, has no files. This raises the reason.
            store.info(path)
    folder = f"{path.rstrip('/')}/"
    keys = [place.removeprefix(folder) for place in found if place.startswith(folder)]
    # A key is text: as paths "a//b" and "a/b" would be one.
    shown = {f"{url.rstrip('/')}/{key}": place_of_key(key) for key in keys if not _is_hidden(key)}
    for place in excluded:
        shown = {one: below for one, below in shown.items() if not is_below(resolved(one), place)}
    wanted = [(one, below) for one, below in shown.items() if below.suffix.lower() in endings]
    unread = [one for one, below in shown.items() if needs_media(str(below))]
    if not wanted:
        raise InputError(f"no recordings in {url}{MEDIA_CLAUSE if unread else ''}")
    if unread:
        warn_of_media(unread)
    return wanted


def _is_hidden(key: str) -> bool:
    return any(part.startswith(".") and part not in (".", "..") for part in key.split("/"))


def check_input(place: str) -> None:
    """Check the place of an input, as far as its text tells.

    Raises:
        PlanError: it is a folder of a web server.
    """
    if _is_web(place) and re.fullmatch("[^/]+//[^/]*(/|/.*/)?", without_credentials(place)):
        raise PlanError(f"{place}: folders of the web are not read; name a recording")


def exists(url: str) -> bool:
    """Whether an object exists.

    Raises:
        InputError: the store cannot be reached.
    """
    with _opened(url) as (store, path):
        return bool(store.exists(path))


def modified(url: str) -> float:
    """Return the time at which an object changed last, in seconds since 1970.

    Raises:
        InputError: the store has no times (web servers, FTP), or cannot be reached.
    """
    with _opened(url) as (store, path):
        return float(store.modified(path).timestamp())


def obstacle(url: str) -> str | None:
    """Return why no output can be sent to a URL, in words; None as far as its text tells none."""
    if _is_web(url):
        return "a web address takes no outputs; name a file, a folder or an object store with -o"
    return _refusal(url)


def bucket_of(url: str) -> str | None:
    """Return the URL of the bucket or container of an object; None in stores of files, which have none."""
    return "/".join(url.split("/", 3)[:3]) if _protocol(url) in OBJECT_STORES else None


def is_missing(bucket: str) -> bool:
    """Whether a bucket is known not to exist: a store that cannot be reached, or does not say, says no such
    thing."""
    try:
        with _opened(bucket) as (store, path):
            if not store.exists(path):
                store.ls(path)  # permission may be missing, too
    except InputError as error:
        return isinstance(error.__context__, FileNotFoundError)
    return False


def fetch(url: str, path: Path) -> None:
    """Copy an object to a file.

    Raises:
        InputError: the object does not exist, or the store cannot be reached.
    """
    with _opened(url) as (store, source):
        store.get_file(source, str(path))


def send(path: Path, url: str) -> None:
    """Copy a file to an object, completely or not at all.

    Raises:
        InputError: the store cannot be reached, or refuses the object.
    """
    with _opened(url) as (store, target):
        if (bucket := bucket_of(url)) is None:
            store.makedirs(store._parent(target), exist_ok=True)
            _put_and_rename(store, path, target)
            return
        try:
            # Folders are made by keys, and s3fs would make a bucket.
            store.put_file(str(path), target)
        except FileNotFoundError:
            # Its message may have the address with its credentials.
            raise InputError(f"{url}: {bucket} does not exist") from None


def _put_and_rename(store: AbstractFileSystem, path: Path, target: str) -> None:
    """Copy a file to a store, where it gets its name when all of it is there."""
    part, earlier = (_beside(store, target) for _ in range(2))
    try:
        store.put_file(str(path), part)
        try:
            _rename(store, part, target)
        except Exception:
            # Some stores (SMB, HDFS) do not rename to a name that is taken.
            if not store.exists(target):
                raise
            _rename(store, target, earlier)
            try:
                _rename(store, part, target)
            except BaseException:
                _rename(store, earlier, target)
                raise
            store.rm_file(earlier)
    except BaseException:
        with contextlib.suppress(Exception):
            store.rm_file(part)
        raise


def _beside(store: AbstractFileSystem, target: str) -> str:
    """Return the path of a new unfinished file beside a target."""
    return f"{store._parent(target).rstrip('/')}/{part_name(PurePosixPath(target))}"


def _rename(store: AbstractFileSystem, path: str, new: str) -> None:
    import fsspec

    if type(store).mv is fsspec.AbstractFileSystem.mv:
        # It copies and deletes, and takes names for patterns.
        store.cp_file(path, new)
        store.rm_file(path)
        return
    store.mv(path, new)
    if store.exists(path):
        raise OSError("the store has not renamed it")


@contextlib.contextmanager
def _opened(url: str) -> Iterator[tuple[AbstractFileSystem, str]]:
    """Yield the store of a URL and the path in it; errors of the block become an `InputError`.

    fsspec's own function would split the URL at each '::', which keys and IPv6 addresses may hold.

    Raises:
        InputError: there is no such store; or the block's error.
        DependencyError: a package for it is missing.
    """
    require("fsspec", f"{url}:")
    import fsspec

    if reason := _refusal(url):
        raise InputError(f"{url}: {reason}")
    try:
        kind = fsspec.get_filesystem_class(_protocol(url))
        store = kind(**kind._get_kwargs_from_urls(url))
        # Another client may have written since a folder was listed.
        store.invalidate_cache()
        yield store, kind._strip_protocol(url)
    except InputError:
        raise
    except ImportError as error:
        # The message of fsspec names the packages of the protocol, of which s3fs brings those of the web.
        how = f"; `{install('remote')}`" if re.search("s3fs|aiohttp", str(error)) else ""
        raise DependencyError(f"{url}: {error}{how}") from error
    except Exception as error:
        # Its traceback would show the library's message.
        has_credentials = without_credentials(url) != url
        raise _unusable(url, error) from (None if has_credentials else error)


def _protocol(url: str) -> str:
    protocol = url.partition("://")[0]
    return protocol if len(protocol) > 1 else "file"  # a drive of Windows


def _refusal(url: str) -> str | None:
    """Return why a URL is not opened, in words; None if it is."""
    return "an address is one URL, without a second one behind '::'" if CHAIN.search(url) else None


def _is_web(url: str) -> bool:
    return _protocol(url).lower() in ("http", "https")


def _unusable(url: str, error: BaseException) -> InputError:
    """Return the error to raise for one of a store: stores have errors of their own, except for missing
    objects."""
    if _is_web(url) and isinstance(error, FileNotFoundError) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, FileNotFoundError):
        return InputError(f"{url}: there is no such object")
    detail = without_those_of(url, str(error).strip()) or type(error).__name__
    return InputError(f"{url}: {detail}")
