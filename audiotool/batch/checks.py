"""Checks of planned jobs, before anything slow begins."""

from __future__ import annotations

import os
from collections.abc import Sequence

from audiotool.atomic import folder_obstacle, name_obstacle
from audiotool.audio import PIPE
from audiotool.batch.job import Job
from audiotool.errors import PlanError
from audiotool.paths import Folders, is_url
from audiotool.text import composed, listed


def check_apart(jobs: Sequence[Job], folders: Folders) -> None:
    """Check that no output replaces another output or an input.

    Names that differ in case or Unicode normalisation count as equal, because some file systems do not tell
    them apart.

    Raises:
        PlanError: an output does; the message names both.
    """
    inputs = {folders.real(p) for job in jobs for p in (job.source, *job.references)}
    owners: dict[str, Job] = {}
    clashes, replaced = [], []
    for job in jobs:
        for path in job.target.places:
            if path == PIPE:
                continue
            real = folders.real(path)
            key = _folded(real)
            if key in owners:
                text = f"{owners[key].source} and {job.source} (both to {path})"
                clashes.append((text, str(owners[key].source), str(job.source)))
            owners.setdefault(key, job)
            if real in inputs:
                replaced.append(path)
    if clashes:
        raise PlanError(
            f"outputs of one name: {listed([text for text, *_ in clashes])}; {_way_out(*clashes[0][1:])}"
        )
    if replaced:
        raise PlanError(
            f"an output would replace its own input: {listed(replaced)}; choose another -o or --suffix"
        )


def _folded(name: str) -> str:
    """Return the name as file systems that ignore case and normalisation compare it: letter by letter, so
    that ß is no ss, as it is to `casefold`."""
    if name.isascii():
        return name.lower()
    folded = ((letter, letter.casefold()) for letter in composed(name))
    return "".join(one if len(one) == 1 else letter.lower() for letter, one in folded)


def _way_out(first: str, second: str) -> str:
    """Return what to do about inputs whose outputs would have one name."""
    if first == second:
        return "give each a name of its own"
    if _folded(first) == _folded(second):
        what = "Unicode normalisation" if composed(first) == composed(second) else "case"
        return f"they differ in {what} alone, which some file systems do not tell apart: rename one"
    apart = "run them apart, into folders of their own"
    if _folded(os.path.basename(first)) != _folded(os.path.basename(second)):
        return f"{apart}, for example by their ending: 'IN/*.wav'"
    if is_url(first) or is_url(second):
        return apart
    try:
        above = os.path.commonpath([os.path.abspath(first), os.path.abspath(second)])
        below = os.path.relpath(above)
    except ValueError:  # two drives of Windows
        return apart
    if above == os.path.dirname(above):  # the root, with everything else in it
        return apart
    shown = above if below.startswith(os.pardir) else below
    return f"{apart}, or give the folder above both, which keeps their folders: {shown}"


def with_obstacles(jobs: Sequence[Job]) -> list[Job]:
    """Return the jobs, those with an output that cannot be written with the reason as their obstacle."""
    of_folders: dict[str, str | None] = {}
    return [job if job.obstacle else job._replace(obstacle=_obstacle(job, of_folders)) for job in jobs]


def _obstacle(job: Job, of_folders: dict[str, str | None]) -> str:
    """Return why an output of a job cannot be written, "" if all can; `of_folders` is a cache."""
    for path in job.target.paths:
        folder = os.path.dirname(path)
        if folder not in of_folders:
            of_folders[folder] = folder_obstacle(path.parent)
        reason = name_obstacle(path) or of_folders[folder]
        if reason is not None:
            return f"cannot write {path}: {reason}"
    return ""
