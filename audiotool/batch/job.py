"""A job of a batch: one input and its outputs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

from audiotool.atomic import remove_leftovers
from audiotool.audio.target import Target
from audiotool.batch import scratch
from audiotool.paths import is_url

Existing = Literal["refuse", "overwrite", "skip"]
"""Policy for outputs that exist."""


class Job(NamedTuple):
    """One input and its outputs.

    Args:
        name: name in progress and report: the input's path below the folder in which it was found.
        source: a path, or "-".
        target: paths of the outputs.
        references: clean versions, one for each stem, where the last may lack; empty when there are none.
        unscored: reason why this job has no references although other jobs have, or none for the rest of its
            input; "" otherwise.
        companions: other files that are read with the source.
        obstacle: reason why this job fails without work although other jobs are done; "" otherwise.
        existing: policy for outputs that exist when it begins.
    """

    name: str
    source: str | Path
    target: Target
    references: tuple[Path, ...] = ()
    unscored: str = ""
    companions: tuple[Path, ...] = ()
    obstacle: str = ""
    existing: Existing = "overwrite"

    @property
    def key(self) -> tuple[str, ...]:
        """Its outputs: those of jobs without an obstacle differ, and several jobs may have one input."""
        return tuple(self.target.places)

    @property
    def inputs(self) -> tuple[str | Path, ...]:
        """All files that are read: the source and its companions."""
        return (self.source, *self.companions)

    @property
    def is_remote(self) -> bool:
        """Whether an input or output is in an object store."""
        return any(map(is_url, (*self.inputs, *self.target.places)))

    @property
    def size(self) -> int:
        """Size of the source in bytes; 0 where that is not known: pipes, URLs, and missing files, which the
        job reports."""
        try:
            return os.stat(self.source).st_size
        except OSError:
            return 0


def clean_up(jobs: Iterable[Job]) -> None:
    """Remove the unfinished outputs, and the fetched inputs, of jobs whose processes did not do it
    themselves."""
    jobs = list(jobs)
    if any(job.is_remote for job in jobs):
        scratch.remove_leftovers(tempfile.gettempdir())
    for folder in {os.path.dirname(os.path.realpath(path)) for job in jobs for path in job.target.paths}:
        remove_leftovers(folder)
