"""Remote files of a job: inputs are fetched before it and outputs sent after it, so that it works on local
files."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from audiotool.audio import remote
from audiotool.batch.job import Job
from audiotool.errors import AudiotoolError
from audiotool.paths import is_url, storable


def is_remote(job: Job) -> bool:
    """Return whether an input or output of a job is remote."""
    return any(map(is_url, (*job.inputs, *job.target.places)))


@contextlib.contextmanager
def staged(job: Job) -> Iterator[Job]:
    """Replace the URLs of a job by local files. Outputs are sent when the `with` block ends without an error.

    The local files are in the system's folder of temporary files (TMPDIR), and are removed in any case.

    Raises:
        InputError: an input does not exist, or the store cannot be reached.
    """
    if not is_remote(job):
        yield job
        return
    with tempfile.TemporaryDirectory(prefix="audiotool-") as name:
        folder = Path(name)
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
        target = job.target._replace(stems=tuple(map(local, job.target.stems)), residual=residual)
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
    remote.fetch(place, path)
    return path


def _local_name(url: str) -> Path:
    """Return the name of an object as one of this system."""
    return storable(PurePosixPath(remote.name_of(url).name))


def _with_urls(message: str, urls: dict[Path, str]) -> str:
    """Return a message with the local paths replaced by the user's URLs."""
    for path, url in urls.items():
        message = message.replace(str(path), url)
    return message
