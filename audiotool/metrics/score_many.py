"""Score many files, in worker processes.

rows = score_many(pair_files(Path("clean"), Path("enhanced")), ["pesq", "stoi"], jobs=4)   # of `pairing`
"""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from audiotool.cores import affordable_workers, core_count
from audiotool.metrics.base import METRICS, JointMetric
from audiotool.metrics.child import close_children
from audiotool.metrics.pairing import FilePair
from audiotool.metrics.rows import Row
from audiotool.metrics.score_files import places_of, score_stems, sound_facts
from audiotool.metrics.values import Value
from audiotool.signals import end, follow_parent

PATIENCE = 2.0
"""Seconds that terminated processes have to end those of PESQ."""

Part = Sequence[FilePair]


def score_many(
    pairs: Sequence[FilePair],
    metrics: Sequence[str],
    jobs: int = 1,
    progress: Callable[[Row], None] | None = None,
) -> list[Row]:
    """Score many pairs, in worker processes when jobs > 1.

    Args:
        progress: called with each row as it is finished, in any order.
    Returns:
        Rows in the order of `pairs`. If a worker dies, its pair gets a reason and the others are scored.
    """
    together = any(issubclass(METRICS.get(name), JointMetric) for name in metrics)
    groups: dict[str | int, list[int]] = {}
    for n, pair in enumerate(pairs):
        groups.setdefault(pair.mixture if together and pair.stem else n, []).append(n)
    rows: dict[int, Row] = {}
    members = list(groups.values())
    parts = [[pairs[n] for n in group] for group in members]
    for index, part in _scored(parts, metrics, min(jobs, len(parts))):
        for n, row in zip(members[index], part, strict=True):
            rows[n] = row
            if progress is not None:
                progress(row)
    return [rows[n] for n in range(len(pairs))]


def _score_part(stems: Sequence[FilePair], metrics: Sequence[str]) -> list[Row]:
    """Return the rows of `score_stems`, with facts of the files."""
    rows = score_stems(stems, metrics)
    for files, row in zip(stems, rows, strict=True):
        if not row.failed:
            row.facts |= sound_facts(files.estimate, files.noisy)
    return rows


def _scored(parts: Sequence[Part], metrics: Sequence[str], jobs: int) -> Iterator[tuple[int, list[Row]]]:
    jobs = affordable_workers(jobs)
    if jobs <= 1:
        for index, part in enumerate(parts):
            yield index, _score_part(part, metrics)
        return
    waiting = deque(range(len(parts)))
    while waiting:
        # A worker that dies breaks its whole pool. The files that were in work are scored one by one, to find
        # the one that caused it, and the rest in another pool.
        for suspect in (yield from _pooled(parts, waiting, metrics, jobs)):
            if (yield from _pooled(parts, deque([suspect]), metrics, 1)):
                values = dict.fromkeys(metrics, Value(None, "the process that scored this file died"))
                yield suspect, [_lost(pair, values) for pair in parts[suspect]]


def _lost(files: FilePair, values: dict[str, Value]) -> Row:
    """Return the row of a pair whose worker died."""
    return Row(files.name, dict(values), facts={"status": "failed", **places_of(files)}, failed=True)


def _pooled(
    parts: Sequence[Part], waiting: deque[int], metrics: Sequence[str], jobs: int
) -> Generator[tuple[int, list[Row]], None, list[int]]:
    """Take indices of parts from `waiting`, and yield each with its rows as they are finished.

    Returns:
        The indices that were in work when a worker died, with which the pool ends; [] if none died.
    """
    threads = max(1, core_count() // jobs)
    working: dict[Future[list[Row]], int] = {}
    with ProcessPoolExecutor(jobs, get_context("spawn"), _prepare, (threads,)) as pool:
        try:
            while waiting or working:
                # No worker has a second part in hand: with the pool only what is in work is lost.
                while waiting and len(working) < jobs:
                    future = pool.submit(_score_part, parts[waiting[0]], metrics)
                    working[future] = waiting.popleft()
                for future in wait(working, return_when=FIRST_COMPLETED).done:
                    rows = future.result()
                    yield working.pop(future), rows
        except BrokenProcessPool:
            return sorted(working.values())
        except BaseException:
            workers = list((pool._processes or {}).values())
            pool.shutdown(wait=False, cancel_futures=True)
            end(workers, PATIENCE)
            raise
    return []


def _prepare(count: int) -> None:
    def leave(*signalled: object) -> None:
        close_children()
        os._exit(1)

    follow_parent()
    signal.signal(signal.SIGTERM, leave)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(count)
