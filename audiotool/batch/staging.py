"""Remote files of a job: inputs are fetched before it and outputs sent after it, so that it works on local
files."""

from __future__ import annotations

import contextlib
import errno
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from audiotool.audio import remote
from audiotool.batch.job import Job
from audiotool.batch.scratch import scratch_folder
from audiotool.errors import AudiotoolError, InputError
from audiotool.paths import is_url, storable
from audiotool.writable import CAUSES

LONGEST = 50
"""Greatest number of characters of a local file's name."""

NO_ROOM = [CAUSES[number] for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)]
"""Why a file cannot be written where there is no room."""


@contextlib.contextmanager
def staged(job: Job) -> Iterator[Job]:
    """Replace the URLs of a job by local files. Outputs are sent when the `with` block ends without an error.

    The local files are in a `scratch_folder`, and are removed in any case.

    Raises:
        InputError: an input does not exist, the store cannot be reached, or the local files have no room.
    """
    if not job.is_remote:
        yield job
        return
    with scratch_folder() as folder:
        local_inputs = [_fetched(place, folder / f"in{n}") for n, place in enumerate(job.inputs)]
        source, *companions = local_inputs
        fetched = {Path(here): str(place) for here, place in zip(local_inputs, job.inputs, strict=True)}
        sent: dict[Path, str] = {}

        def local(place: str | Path) -> str | Path:
            if not isinstance(place, str) or not is_url(place):
                return place
            path = folder / f"out{len(sent)}" / _local_name(place)
            path.parent.mkdir()
            sent[path] = place
            return path

        residual = None if job.target.residual is None else local(job.target.residual)
        target = replace(job.target, stems=tuple(map(local, job.target.stems)), residual=residual)
        try:
            yield job._replace(source=source, companions=tuple(map(Path, companions)), target=target)
            for path, url in sent.items():
                remote.send(path, url)
        except AudiotoolError as error:
            raise type(error)(_with_urls(str(error), {**fetched, **sent})) from error


def _fetched(place: str | Path, folder: Path) -> str | Path:
    if not isinstance(place, str) or not is_url(place):
        return place
    folder.mkdir()
    path = folder / _local_name(place)
    try:
        remote.fetch(place, path)
    except InputError as error:
        # A store that is read does not run out of room.
        reason = CAUSES.get(getattr(error.__context__, "errno", None) or 0)
        if reason in NO_ROOM:
            raise InputError(_without_room(place, reason)) from error
        raise
    return path


def _local_name(url: str) -> Path:
    """Return the end of an object's name, as a name of this system: a key may be longer than any of these."""
    return Path(str(storable(PurePosixPath(remote.name_of(url).name)))[-LONGEST:])


def _with_urls(message: str, urls: dict[Path, str]) -> str:
    """Return a message with the local paths replaced by the user's URLs.

    What was written of an output by then is in the folder of temporary files, which may be full.
    """
    for path, url in urls.items():
        for reason in NO_ROOM:
            message = message.replace(f"cannot write {path}: {reason}", _without_room(url, reason))
        message = message.replace(str(path), url)
    return message


def _without_room(url: str, reason: str) -> str:
    return f"{url} is put aside in {tempfile.gettempdir()}, and there {reason}: set TMPDIR to another folder"
