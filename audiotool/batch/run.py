"""Run a plan: in this process, in workers (`pool.py`), or on a cluster."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Generator, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from audiotool.batch.job import Job
from audiotool.batch.plan import Plan
from audiotool.batch.watch import SilentWatcher, Watcher
from audiotool.batch.work import Outcome, Work, do, failed, score_skipped
from audiotool.cores import core_count

if TYPE_CHECKING:
    from audiotool.batch.cluster import Cluster


def run(
    plan: Plan,
    work: Work,
    jobs: int | None = None,
    watcher: Watcher | None = None,
    cluster: str | None = None,
) -> Generator[Outcome, None, None]:
    """Do all jobs of a plan.

    Args:
        jobs: number of worker processes; 1 works in this process, 0 starts one a core. None is 1 on this
            machine, and one a core on a cluster.
        watcher: receives the progress.
        cluster: address of the Ray cluster whose machines work, see `Cluster`; None works here.
    Yields:
        One outcome a job as it ends, those of skipped jobs and of jobs with an obstacle first. Several
        workers begin with the largest inputs, so that none works on a long one alone at the end; where
        outputs are scored or drawn, they begin with those of skipped jobs (but not on a cluster).
    Raises:
        CheckpointError, DeviceError: the model cannot be loaded; nothing was written.
        PlanError, DependencyError: there is no such cluster, or no Ray.
    """
    watcher = watcher or SilentWatcher()
    able = [job for job in plan.jobs if not job.obstacle]
    hired = None if cluster is None or not able else _hired(cluster, able, work, jobs or 0, watcher)
    is_shared = work.looks_at_outputs and hired is None
    count = min(1 if jobs is None else jobs or core_count(), len(able) + is_shared * len(plan.skipped))
    own, shared = ((), plan.skipped) if is_shared and count > 1 else (plan.skipped, ())
    skipped = (score_skipped(job, work) for job in own)
    blocked = (failed(job, job.obstacle) for job in plan.jobs if job.obstacle)
    for outcome in itertools.chain(skipped, blocked):
        watcher.finished(outcome)
        yield outcome
    if hired is not None:
        yield from hired.run(_largest_first(able))
    elif count > 1:
        from audiotool.batch.pool import Pool

        yield from Pool(work, count, watcher).run(_largest_first(able), shared)
    elif able:
        yield from _run_here(able, work, watcher)


def rest(running: Generator[Outcome, None, None], error: BaseException) -> Iterator[Outcome]:
    """Stop a run at an error and yield the outcomes of the jobs that had ended by then.

    Args:
        error: what the run has raised, or what interrupted its caller between two outcomes.
    """
    with contextlib.suppress(type(error)):
        yield running.throw(error)
        yield from running


def _largest_first(jobs: Sequence[Job]) -> list[Job]:
    """Return jobs by the size of their inputs, those of equal size in the plan's order."""
    return sorted(jobs, key=lambda job: job.size, reverse=True)


def _hired(address: str, jobs: Sequence[Job], work: Work, count: int, watcher: Watcher) -> Cluster:
    from audiotool.batch.cluster import Cluster, check_inputs

    check_inputs(jobs)
    return Cluster(address, work, count, watcher)


def _run_here(jobs: Sequence[Job], work: Work, watcher: Watcher) -> Iterator[Outcome]:
    process = work.processor.open(work.threads)
    for job in jobs:
        watcher.started(job)
        outcome = do(job, process, work, partial(watcher.advanced, job))
        watcher.finished(outcome)
        yield outcome
        if outcome.request is not None:
            raise outcome.request
