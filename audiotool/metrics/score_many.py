"""Score many files, in worker processes.

rows = score_many(pair_files(Path("clean"), Path("enhanced")), ["pesq", "stoi"], jobs=4)   # of `pairing`
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from audiotool.cores import core_count
from audiotool.metrics.base import METRICS, JointMetric
from audiotool.metrics.child import close_children
from audiotool.metrics.pairing import FilePair
from audiotool.metrics.rows import Row
from audiotool.metrics.score_files import places_of, score_stems, sound_facts
from audiotool.metrics.values import Value
from audiotool.signals import end, leave_to_parent

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
        groups.setdefault(pair.mixture if together and pair.mixture else n, []).append(n)
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
    if jobs <= 1:
        for index, part in enumerate(parts):
            yield index, _score_part(part, metrics)
        return
    lost = []
    for index, rows in _pooled(dict(enumerate(parts)), metrics, jobs):
        if rows is None:
            lost.append(index)
        else:
            yield index, rows
    # A worker that dies breaks the whole pool. The rest is scored one by one, to find the file that
    # caused it.
    for index in sorted(lost):
        [(_, rows)] = _pooled({index: parts[index]}, metrics, 1)
        values = dict.fromkeys(metrics, Value(None, "the process that scored this file died"))
        yield index, rows or [_lost(pair, values) for pair in parts[index]]


def _lost(files: FilePair, values: dict[str, Value]) -> Row:
    """Return the row of a pair whose worker died."""
    return Row(files.name, dict(values), facts={"status": "failed", **places_of(files)}, failed=True)


def _pooled(
    parts: dict[int, Part], metrics: Sequence[str], jobs: int
) -> Iterator[tuple[int, list[Row] | None]]:
    """Yield rows as they are finished; None for those whose pool broke."""
    threads = max(1, core_count() // jobs)
    with ProcessPoolExecutor(jobs, get_context("spawn"), _prepare, (threads,)) as pool:
        futures: dict[Future[list[Row]], int] = {}
        try:
            for index, part in parts.items():
                futures[pool.submit(_score_part, part, metrics)] = index
        except BrokenProcessPool:
            yield from ((index, None) for index in parts.keys() - set(futures.values()))
        try:
            for future in as_completed(futures):
                broken = isinstance(future.exception(), BrokenProcessPool)
                yield futures[future], None if broken else future.result()
        except BaseException:
            workers = list((pool._processes or {}).values())
            pool.shutdown(wait=False, cancel_futures=True)
            end(workers, PATIENCE)
            raise


def _prepare(count: int) -> None:
    def leave(*signalled: object) -> None:
        close_children()
        os._exit(1)

    leave_to_parent()
    signal.signal(signal.SIGTERM, leave)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(count)
