"""Outputs that are there already: when a batch is planned, and when a job begins."""

from __future__ import annotations

import os
from pathlib import Path

from audiotool.audio import PIPE, remote
from audiotool.batch.job import Job
from audiotool.errors import InputError
from audiotool.paths import Folders, is_url
from audiotool.text import listed


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
    return len(found) == len(job.target.places) and not _older(job, found)


def part_kept(job: Job, found: list[str]) -> str:
    """Return why a job that skips existing outputs cannot be done: a part of its outputs is there, and is
    kept; "" where it can.

    Outputs of one input belong together. Those of two models, or of other --stems, do not add up.

    Args:
        found: the outputs that are `there`.
    """
    missing = [place for place in job.target.places if place != PIPE and place not in found]
    if not found or not missing:
        return ""  # before any store is asked for times
    older = _older(job, found)
    kept = [place for place in found if place not in older]
    if not kept:
        return ""
    return (
        f"there is {listed(kept)} already, without {listed(missing)}, and an input's outputs are made"
        " together: --overwrite replaces what is there, another -o keeps it"
    )


def _older(job: Job, found: list[str]) -> list[str]:
    """Return the outputs that are older than a job's inputs; none where no file or store tells."""
    try:
        changed = max(map(_modified, job.inputs))
        return [place for place in found if _modified(place) < changed]
    except (OSError, InputError):
        return []


def _modified(place: str | Path) -> float:
    """Return the time at which an input or output changed last, in seconds since 1970.

    Raises:
        OSError, InputError: it is not there, or its store does not tell.
    """
    return remote.modified(str(place)) if is_url(place) else os.stat(place).st_mtime


def _exists(place: str, folders: Folders) -> bool:
    return remote.exists(place) if is_url(place) else folders.holds(place)
