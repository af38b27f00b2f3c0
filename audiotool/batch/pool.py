"""Worker processes, each of which loads the model once and does one job after another.

A worker that does short jobs is handed the next one ahead, so that it does not wait for the parent between
two. The job of a worker that dies (a crash in a library, the system's memory killer) fails, and another
worker is started; a job that it was handed ahead goes to another worker. Workers end when the process that
started them is gone.
"""

from __future__ import annotations

import logging
import math
import os
import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from logging.handlers import QueueHandler
from multiprocessing import connection
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from audiotool import stdio
from audiotool.batch import processes
from audiotool.batch.job import Job, clean_up
from audiotool.batch.work import Outcome, Work, do, failed, score_skipped
from audiotool.cores import affordable_workers, core_count
from audiotool.errors import AudiotoolError
from audiotool.signals import EndRequest, deferred, end, held_back, leave_to_parent

if TYPE_CHECKING:
    from audiotool.batch.watch import Watcher

log = logging.getLogger(__name__)

MAX_START_FAILURES = 3
"""Number of workers that may die without having finished a job before the batch fails."""

PROGRESS_SECONDS = 0.1
"""Least time between two messages of a worker about its progress in a file, because each wakes the parent."""

SHORT_SECONDS = 0.5
"""Greatest duration of jobs behind which another one waits. The largest inputs come first, so that after a
short job no long one follows."""

PATIENCE = 10.0
"""Seconds that terminated workers have to remove unfinished outputs."""


@dataclass
class _Worker:
    """A worker as its parent sees it.

    Args:
        jobs: indices of the jobs that it was handed: the one in work, and perhaps the next.
        ready: whether it has loaded the model.
        began: time at which the job in work began.
        took: seconds of the last job.
    """

    process: Any
    pipe: connection.Connection
    jobs: deque[int] = field(default_factory=deque)
    ready: bool = False
    began: float = 0.0
    took: float = math.inf


class Pool:
    """Worker processes that do one job at a time, in the order in which they are given.

    Args:
        count: greatest number of workers; each gets an equal share of the cores as threads.
    Raises:
        AudiotoolError: too few files may be open for a worker.
    """

    def __init__(self, work: Work, count: int, watcher: Watcher) -> None:
        self._context = processes.context()
        count = affordable_workers(count)
        if not count:
            raise AudiotoolError(
                "`ulimit -n` allows too few open files for a worker process: raise it, or try --jobs 1"
            )
        threads = max(1, core_count() // count)
        self.work = work._replace(threads=work.threads or threads)
        self.count = count
        self.watcher = watcher
        self._workers: list[_Worker] = []
        self._ended: deque[Outcome] = deque()
        self._deaths = 0

    def run(self, jobs: Sequence[Job], skipped: Sequence[Job] = ()) -> Generator[Outcome, None, None]:
        """Yield the outcomes as the jobs end, first those of `skipped`, whose outputs are scored alone.

        When it is interrupted, or fails, it stops the workers and yields the outcomes of the jobs that had
        ended by then before it raises the error: their outputs are there.

        Raises:
            AudiotoolError: no worker can be started, or none can load the model.
        """
        self._jobs = [*skipped, *jobs]
        self._skipped = len(skipped)
        self._waiting = deque(range(len(self._jobs)))
        count = 0
        try:
            for _ in range(self.count):
                self._start()
            while count < len(self._jobs):
                ready = connection.wait([w.pipe for w in self._workers])
                for worker in [w for w in self._workers if w.pipe in ready]:
                    self._receive(worker)
                count += len(self._ended)
                while self._ended:
                    yield self._ended.popleft()
            self._close()
        except GeneratorExit:
            raise
        except BaseException:
            self._stop()
            while self._ended:
                yield self._ended.popleft()
            raise
        finally:
            self._stop()

    def _start(self) -> None:
        parent_end, worker_end = self._context.Pipe()
        level = log.getEffectiveLevel()
        process = self._context.Process(
            target=_work_loop,
            args=(worker_end, self.work, self._skipped < len(self._jobs), level, dict(os.environ)),
            name="audiotool-worker",
        )
        with held_back():
            process.start()
            self._workers.append(_Worker(process, parent_end))
        worker_end.close()

    def _receive(self, worker: _Worker) -> None:
        try:
            with deferred():
                # An interrupt would leave half of a message in the pipe, or lose the outcome in it.
                kind, *values = worker.pipe.recv()
                if kind == "finished":
                    self._ended.append(values[0])
        except (EOFError, OSError):
            self._bury(worker)
            return
        if kind == "refused":
            raise values[0]
        if kind == "logged":
            _log(values[0])
            return
        if kind == "advanced":
            self.watcher.advanced(self._jobs[worker.jobs[0]], *values)
            return
        if kind == "finished":
            outcome, advance = values
            index = worker.jobs.popleft()
            worker.took = time.monotonic() - worker.began
            if advance is not None:
                self.watcher.advanced(self._jobs[index], *advance)
            self._tell(outcome)
            if worker.jobs:
                self._begin(worker)
        worker.ready = True
        self._hand(worker)

    def _hand(self, worker: _Worker) -> None:
        """Hand a worker its next job, and one more where its jobs are short and many are left for all."""
        ahead = worker.took < SHORT_SECONDS and len(self._waiting) > self.count
        while self._waiting and len(worker.jobs) < 1 + ahead:
            index = self._waiting[0]
            try:
                worker.pipe.send((self._jobs[index], index < self._skipped))
            except OSError:
                # It has died, and is buried when its pipe is read.
                return
            worker.jobs.append(self._waiting.popleft())
            if len(worker.jobs) == 1:
                self._begin(worker)

    def _begin(self, worker: _Worker) -> None:
        """Note that a worker begins the first of its jobs."""
        worker.began = time.monotonic()
        if worker.jobs[0] >= self._skipped:
            self.watcher.started(self._jobs[worker.jobs[0]])

    def _finish(self, outcome: Outcome) -> None:
        self._ended.append(outcome)
        self._tell(outcome)

    def _tell(self, outcome: Outcome) -> None:
        self._deaths = 0
        self.watcher.finished(outcome)

    def _bury(self, worker: _Worker) -> None:
        """Replace a worker that has died. Its job has failed; the one after it goes to another worker."""
        worker.process.join()
        worker.pipe.close()
        self._workers.remove(worker)
        clean_up(self._jobs[n] for n in worker.jobs)
        code = worker.process.exitcode
        cause = f"killed by signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        if worker.jobs:
            job = self._jobs[worker.jobs.popleft()]
            self._finish(failed(job, f"{job.name}: the process working on it died ({cause})"))
        self._deaths += 1
        if self._deaths > MAX_START_FAILURES:
            raise AudiotoolError(f"worker processes die as they start ({cause}): try --jobs 1")
        self._waiting.extendleft(worker.jobs)
        for idle in [w for w in self._workers if w.ready and not w.jobs]:
            self._hand(idle)
        if self._waiting:
            self._start()

    def _close(self) -> None:
        """Close the pipes of the workers, which then end."""
        for worker in self._workers:
            worker.pipe.close()
        for worker in self._workers:
            worker.process.join(5)

    def _stop(self) -> None:
        """Terminate all workers that still run, and take the outcomes that they have sent."""
        pipes = [worker.pipe for worker in self._workers if not worker.pipe.closed]
        messages: list[Any] = []
        # A full pipe keeps a worker from ending until it is read.
        reader = threading.Thread(target=_read_to_the_end, args=(pipes, messages), daemon=True)
        reader.start()
        try:
            end([worker.process for worker in self._workers], PATIENCE)
        finally:
            killed = [worker for worker in self._workers if worker.process.exitcode != 0]
            clean_up(self._jobs[n] for worker in killed for n in worker.jobs)
            reader.join(PATIENCE)
        self._workers.clear()
        for kind, *values in messages:
            if kind == "logged":
                _log(values[0])
            elif kind == "finished":
                self._finish(values[0])


def _log(record: logging.LogRecord) -> None:
    """Show a worker's record."""
    logging.getLogger(record.name).handle(record)


def _read_to_the_end(pipes: list[connection.Connection], messages: list[Any]) -> None:
    """Read all messages of workers that end."""
    while pipes:
        ready = connection.wait(pipes)
        for pipe in [pipe for pipe in pipes if pipe in ready]:
            try:
                messages.append(pipe.recv())
            except (EOFError, OSError):
                pipes.remove(pipe)


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


def _end(number: int, frame: FrameType | None) -> NoReturn:
    raise EndRequest(1)


def _work_loop(
    pipe: connection.Connection, work: Work, loads: bool, level: int, environment: Mapping[str, str]
) -> None:
    """Main loop of a worker: load the model if one is needed, then do one job after another, or score what it
    skips, until the pipe closes."""
    signal.signal(signal.SIGTERM, _end)
    leave_to_parent()
    stdio.prepare()
    # The environment of the fork server dates from the first batch.
    os.environ.clear()
    os.environ.update(environment)
    logging.basicConfig(level=logging.WARNING, handlers=[_ToParent(pipe)])
    logging.getLogger("audiotool").setLevel(level)
    try:
        try:
            process = work.processor.open(work.threads) if loads else None
        except AudiotoolError as error:
            pipe.send(("refused", error))
            return
        pipe.send(("ready",))
        while True:
            job, is_skipped = pipe.recv()
            progress = _Progress(pipe)
            if is_skipped or process is None:
                outcome = score_skipped(job, work)
            else:
                outcome = do(job, process, work, progress)
            with deferred():
                # Half of a message is none, and the output is there.
                pipe.send(("finished", outcome._replace(request=None), progress.untold))
            if outcome.request is not None:
                raise outcome.request
    except (EOFError, ConnectionError):
        # The parent has finished, or is gone: a reset is what it leaves that had not read all messages.
        return
