"""Outputs that are there already: when a batch is planned, and when a job begins."""

from __future__ import annotations

import os
from pathlib import Path

from audiotool.audio import PIPE, remote
from audiotool.batch.job import Job
from audiotool.errors import InputError
from audiotool.paths import Folders, is_url


def there(job: Job, folders: Folders) -> list[str]:
    """Return the outputs of a job that exist, without standard output.

    Raises:
        InputError: a store cannot be reached.
    """
    return [place for place in job.target.places if place != PIPE and _exists(place, folders)]


def is_done(job: Job, found: list[str]) -> bool:
    """Return whether all outputs of a job are there, and none is older than an input.

    Args:
        found: the outputs that are `there`.
    """
    return len(found) == len(job.target.places) and not _is_newer(job)


def _is_newer(job: Job) -> bool:
    """Return whether a job's inputs are newer than its outputs; False where no file or store tells."""
    try:
        changed = max(map(_modified, job.inputs))
        return any(_modified(place) < changed for place in job.target.places)
    except (OSError, InputError):
        return False


def _modified(place: str | Path) -> float:
    """Return the time at which an input or output changed last, in seconds since 1970.

    Raises:
        OSError, InputError: it is not there, or its store does not tell.
    """
    return remote.modified(str(place)) if is_url(place) else os.stat(place).st_mtime


def _exists(place: str, folders: Folders) -> bool:
    return remote.exists(place) if is_url(place) else folders.holds(place)
