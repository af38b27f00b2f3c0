"""Worker processes, each of which loads the model once and does one job after another.

The job of a worker that dies (a crash in a library, the system's memory killer) fails, and another worker is
started. Workers end when the process that started them is gone.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from logging.handlers import QueueHandler
from multiprocessing import connection
from typing import TYPE_CHECKING, Any

from audiotool import stdio
from audiotool.atomic import remove_leftovers
from audiotool.batch import processes
from audiotool.batch.work import Outcome, Work, do, failed
from audiotool.cores import core_count
from audiotool.errors import AudiotoolError
from audiotool.signals import end, held_back, leave_to_parent

if TYPE_CHECKING:
    from audiotool.batch.job import Job
    from audiotool.batch.watch import Watcher

log = logging.getLogger(__name__)

MAX_START_FAILURES = 3
"""Number of workers that may die without having finished a job before the batch fails."""

PROGRESS_SECONDS = 0.1
"""Least time between two messages of a worker about its progress in a file, because each wakes the parent."""

PATIENCE = 10.0
"""Seconds that terminated workers have to remove unfinished outputs."""


@dataclass
class _Worker:
    process: Any
    pipe: connection.Connection
    index: int | None = None


class Pool:
    """Worker processes that take one job at a time.

    Args:
        count: number of workers; each gets an equal share of the cores as threads.
    """

    def __init__(self, work: Work, count: int, watcher: Watcher) -> None:
        threads = max(1, core_count() // count)
        self.work = work._replace(threads=work.threads or threads)
        self.count = count
        self.watcher = watcher
        self._context = processes.context()
        self._workers: list[_Worker] = []
        self._ended: deque[Outcome] = deque()
        self._deaths = 0

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Yield the outcomes as the jobs end.

        Raises:
            AudiotoolError: no worker can be started, or none can load the model.
        """
        self._jobs = jobs
        self._waiting = deque(range(len(jobs)))
        count = 0
        try:
            for _ in range(self.count):
                self._start()
            while count < len(jobs):
                ready = connection.wait([w.pipe for w in self._workers])
                for worker in [w for w in self._workers if w.pipe in ready]:
                    self._receive(worker)
                count += len(self._ended)
                while self._ended:
                    yield self._ended.popleft()
            self._close()
        finally:
            self._stop()

    def _start(self) -> None:
        parent_end, worker_end = self._context.Pipe()
        level = log.getEffectiveLevel()
        process = self._context.Process(
            target=_work_loop, args=(worker_end, self.work, level, dict(os.environ)), name="audiotool-worker"
        )
        with held_back():
            process.start()
            self._workers.append(_Worker(process, parent_end))
        worker_end.close()

    def _receive(self, worker: _Worker) -> None:
        try:
            kind, *values = worker.pipe.recv()
        except (EOFError, OSError):
            self._bury(worker)
            return
        if kind == "refused":
            raise values[0]
        if kind == "logged":
            logging.getLogger(values[0].name).handle(values[0])
            return
        if kind == "advanced" and worker.index is not None:
            self.watcher.advanced(self._jobs[worker.index], *values)
            return
        if kind == "finished" and worker.index is not None:
            outcome, advance = values
            if advance is not None:
                self.watcher.advanced(self._jobs[worker.index], *advance)
            self._finish(outcome)
        self._assign(worker)

    def _assign(self, worker: _Worker) -> None:
        worker.index = self._waiting.popleft() if self._waiting else None
        if worker.index is not None:
            self.watcher.started(self._jobs[worker.index])
            worker.pipe.send(self._jobs[worker.index])

    def _finish(self, outcome: Outcome) -> None:
        self._deaths = 0
        self._ended.append(outcome)
        self.watcher.finished(outcome)

    def _bury(self, worker: _Worker) -> None:
        """Replace a worker that has died; return the outcome of its job, which failed."""
        worker.process.join()
        worker.pipe.close()
        self._workers.remove(worker)
        self._clean_up(worker)
        code = worker.process.exitcode
        cause = f"killed by signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        if worker.index is not None:
            job = self._jobs[worker.index]
            self._finish(failed(job, f"{job.name}: the process working on it died ({cause})"))
        self._deaths += 1
        if self._deaths > MAX_START_FAILURES:
            raise AudiotoolError(f"worker processes die as they start ({cause}): try --jobs 1")
        if self._waiting:
            self._start()

    def _close(self) -> None:
        """Close the pipes of the workers, which then end."""
        for worker in self._workers:
            worker.pipe.close()
        for worker in self._workers:
            worker.process.join(5)

    def _stop(self) -> None:
        """Terminate all workers that still run."""
        try:
            end([worker.process for worker in self._workers], PATIENCE)
        finally:
            for worker in self._workers:
                if worker.process.exitcode != 0:
                    self._clean_up(worker)

    def _clean_up(self, worker: _Worker) -> None:
        """Remove the unfinished outputs of a worker that did not remove them itself."""
        if worker.index is not None:
            for folder in {os.path.realpath(p.parent) for p in self._jobs[worker.index].target.paths}:
                remove_leftovers(folder)


class _Progress:
    """Progress callback of one job, which tells the parent now and then.

    Attributes:
        untold: the last progress if the parent was not told; it goes with the outcome.
    """

    def __init__(self, pipe: connection.Connection) -> None:
        self._pipe = pipe
        self._told = time.monotonic()
        self.untold: tuple[int, int | None] | None = None

    def __call__(self, done: int, total: int | None) -> None:
        self.untold = (done, total)
        if time.monotonic() - self._told >= PROGRESS_SECONDS:
            self._pipe.send(("advanced", done, total))
            self._told, self.untold = time.monotonic(), None


class _ToParent(QueueHandler):
    """Log handler that sends a worker's records to the parent, which shows them."""

    def __init__(self, pipe: connection.Connection) -> None:
        super().__init__(queue.SimpleQueue())
        self.pipe = pipe

    def enqueue(self, record: logging.LogRecord) -> None:
        self.pipe.send(("logged", record))

    def handleError(self, record: logging.LogRecord) -> None:
        """Ignore the error: the parent is gone."""


def _work_loop(pipe: connection.Connection, work: Work, level: int, environment: Mapping[str, str]) -> None:
    """Main loop of a worker: load the model, then do one job after another until the pipe closes."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    leave_to_parent()
    stdio.prepare()
    # The environment of the fork server dates from the first batch.
    os.environ.clear()
    os.environ.update(environment)
    logging.basicConfig(level=level, handlers=[_ToParent(pipe)])
    try:
        try:
            process = work.processor.open(work.threads)
        except AudiotoolError as error:
            pipe.send(("refused", error))
            return
        pipe.send(("ready",))
        while True:
            job = pipe.recv()
            progress = _Progress(pipe)
            outcome = do(job, process, work, progress)
            pipe.send(("finished", outcome, progress.untold))
    except (EOFError, BrokenPipeError):
        # The parent has finished, or is gone.
        return
