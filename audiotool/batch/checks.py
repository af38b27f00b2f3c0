"""Checks of planned jobs, before anything slow begins."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence

from audiotool.audio import PIPE, remote
from audiotool.batch.job import Job
from audiotool.errors import PlanError
from audiotool.paths import Folders, Trial, are_two, folded, is_url
from audiotool.text import composed, listed
from audiotool.writable import folder_obstacle, name_obstacle


def apart(jobs: Sequence[Job], folders: Folders) -> list[Job]:
    """Return the jobs without repeats; no output replaces another output or an input.

    A repeat has the input, the outputs and the references of an earlier job. Names that differ in case or
    Unicode normalisation alone are two outputs where their file system tells them apart.

    Raises:
        PlanError: an output would replace another one or an input; the message names both.
    """
    inputs = {folded(real) for job in jobs for real in _inputs(job, folders)}
    keys: set[str] = set()
    shared: set[str] = set()
    doubtful: list[tuple[str, str]] = []
    for job in jobs:
        for path, real in _outputs(job, folders):
            key = folded(real)
            (shared if key in keys else keys).add(key)
            if key in inputs:
                doubtful.append((path, real))
    tried: dict[Trial, bool] = {}
    kept = _without_clashes(jobs, shared, folders, tried) if shared else list(jobs)
    if replaced := _replaced(jobs, doubtful, folders, tried):
        raise PlanError(
            f"an output would replace its own input: {listed(replaced)}; choose another -o or --suffix"
        )
    return kept


def _replaced(
    jobs: Sequence[Job], doubtful: Sequence[tuple[str, str]], folders: Folders, tried: dict[Trial, bool]
) -> list[str]:
    """Return the outputs that are inputs, as written.

    Args:
        doubtful: outputs, as written and resolved, whose folded paths inputs have; only these are looked at.
    """
    inputs: dict[str, set[str]] = {folded(real): set() for _, real in doubtful}
    for job in jobs if doubtful else ():
        for real in _inputs(job, folders):
            if (alike := inputs.get(folded(real))) is not None:
                alike.add(real)
    return [
        path
        for path, real in doubtful
        if any(other == real or not are_two(other, real, tried) for other in inputs[folded(real)])
    ]


def _without_clashes(
    jobs: Sequence[Job], shared: Collection[str], folders: Folders, tried: dict[Trial, bool]
) -> list[Job]:
    """Return the jobs without repeats.

    Args:
        shared: folded paths that several outputs have; only these are looked at, because a plan may have a
            million others.
    Raises:
        PlanError: outputs of two jobs, or two of one job, are one file.
    """
    owners: dict[str, list[tuple[str, Job]]] = {key: [] for key in shared}
    kept: list[Job] = []
    clashes = []
    for job in jobs:
        outputs = [(path, real, owners.get(folded(real))) for path, real in _outputs(job, folders)]
        if any(_is_repeat(job, owner, folders) for _, _, others in outputs for _, owner in others or ()):
            continue
        kept.append(job)
        for path, real, others in outputs:
            if others is None:
                continue
            same = (o for other, o in others if other == real or not are_two(other, real, tried))
            owner = next(same, None)
            if owner is None:
                others.append((real, job))
            else:
                text = f"{owner.source} and {job.source} (both to {path})"
                clashes.append((text, str(owner.source), str(job.source)))
    if clashes:
        raise PlanError(
            f"outputs of one name: {listed([text for text, *_ in clashes])}; {_way_out(*clashes[0][1:])}"
        )
    return kept


def _inputs(job: Job, folders: Folders) -> list[str]:
    """Return the resolved paths of what a job must not replace: its source and its references."""
    return [folders.real(path) for path in (job.source, *job.references)]


def _outputs(job: Job, folders: Folders) -> list[tuple[str, str]]:
    """Return the outputs of a job, as written and resolved, without standard output."""
    return [(path, folders.real(path)) for path in job.target.places if path != PIPE]


def _is_repeat(job: Job, earlier: Job, folders: Folders) -> bool:
    """Return whether a job does the same as an earlier one."""
    outputs, before = ([real for _, real in _outputs(j, folders)] for j in (job, earlier))
    return outputs == before and _inputs(job, folders) == _inputs(earlier, folders)


def _way_out(first: str, second: str) -> str:
    """Return what to do about inputs whose outputs would have one name."""
    if first == second:
        return "give each a name of its own"
    if folded(first) == folded(second):
        what = "Unicode normalisation" if composed(first) == composed(second) else "case"
        return f"they differ in {what} alone, which this file system does not tell apart: rename one"
    apart = "run them apart, into folders of their own"
    if folded(os.path.basename(first)) != folded(os.path.basename(second)):
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
    """Return why an output of a job cannot be written, "" if all can; `of_folders` is a cache, also of
    buckets."""
    for place in filter(is_url, job.target.places):
        reason = remote.obstacle(place)
        bucket = remote.bucket_of(place)
        if reason is None and bucket is not None:
            if bucket not in of_folders:
                of_folders[bucket] = f"{bucket} does not exist" if remote.is_missing(bucket) else None
            reason = of_folders[bucket]
        if reason is not None:
            return f"cannot write {place}: {reason}"
    for path in job.target.paths:
        folder = os.path.dirname(path)
        if folder not in of_folders:
            of_folders[folder] = folder_obstacle(path.parent)
        reason = name_obstacle(path) or of_folders[folder]
        if reason is not None:
            return f"cannot write {path}: {reason}"
    return ""
