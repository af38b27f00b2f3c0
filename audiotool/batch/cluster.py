"""Run jobs on a Ray cluster, in actors that each load the model once.

The job of an actor that dies with its process or machine is done again by another actor. Outputs get their
names when they are complete, so that an unfinished file is never taken for an output. Each actor opens the
files itself: all machines must see them under the same paths.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from audiotool.audio import PIPE
from audiotool.batch.job import Job, clean_up
from audiotool.batch.watch import Watcher
from audiotool.batch.work import Outcome, Work, do, failed
from audiotool.errors import AudiotoolError, PlanError
from audiotool.extras import require
from audiotool.files.processor import Process
from audiotool.paths import is_url
from audiotool.signals import HANG_UP, deferred
from audiotool.version import __version__
from audiotool.writable import cause

log = logging.getLogger(__name__)

RETRIES = 5
"""Greatest number of retries of a job whose actor died; its file may be the cause."""

MAX_START_FAILURES = 3
"""Number of consecutive actors that may die while they start before the batch fails."""

CONNECT_SECONDS = 5.0
"""Seconds in which the address must answer."""

POLL_SECONDS = 0.5
"""Seconds between two requests for the actors' progress."""

PATIENCE_SECONDS = 10.0
"""Seconds that interrupted actors have to remove unfinished outputs."""

WAIT_SECONDS = 30.0
"""Seconds after which a message says that no actor has started yet."""


QUIET = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_DEDUP_LOGS_SKIP_REGEX": "."}
"""Keep Ray from writing about dead workers to standard output, which may be a pipe with audio or JSON."""


class Actor:
    """An actor on the cluster. `do` runs in one thread, the other methods in another.

    Args:
        work: settings of the processing of jobs.
        folder: folder from which relative paths start.
        level: log level.
    """

    def __init__(self, work: Work, folder: str, level: int) -> None:
        logging.getLogger("audiotool").setLevel(level)
        self._work = work
        self._folder = folder
        self._host = socket.gethostname()
        self._process: Process | None = None
        self._position: tuple[int, int | None] | None = None
        self._stopped = threading.Event()

    def open(self) -> AudiotoolError | None:
        """Load the model; return the error if that fails, else None."""
        if os.path.isdir(self._folder):
            os.chdir(self._folder)
        try:
            self._process = self._work.processor.open(self._work.threads or 1)
        except AudiotoolError as error:
            return type(error)(f"on {self._host}: {error}")
        return None

    def version(self) -> tuple[str, str]:
        """Return the version of audiotool, and the machine's name."""
        return __version__, self._host

    def do(self, job: Job) -> Outcome | None:
        """Do one job; None when it was stopped."""
        assert self._process is not None, "an actor is opened before it works"
        missing = self._missing_path(job)
        if missing is not None:
            return failed(job, f"{job.name}: {missing}")
        self._position = (0, None)
        try:
            return do(job, self._process, self._work, self._advance)
        except KeyboardInterrupt:
            return None
        finally:
            self._position = None

    def _advance(self, done: int, total: int | None) -> None:
        self._position = (done, total)
        if self._stopped.is_set():
            raise KeyboardInterrupt

    def position(self) -> tuple[int, int | None] | None:
        """Return (samples done, samples in all) of the current job."""
        return self._position

    def stop(self) -> None:
        """Stop the current job and remove its unfinished outputs."""
        self._stopped.set()

    def _missing_path(self, job: Job) -> str | None:
        """Return a path that this machine does not see; None when it sees all."""
        inputs = (Path(place) for place in job.inputs if not is_url(place))
        folders = (path.parent for path in job.target.paths)
        for path in (*inputs, *job.references, *folders):
            if not os.path.exists(path):
                return f"{path} is not there on {self._host}: all machines must see it under this path"
        return None


@dataclass(eq=False)
class _RemoteActor:
    """The calling process's handle of an actor and of its job."""

    handle: Any
    opened: bool = False
    index: int | None = None


class Cluster:
    """Actors of a Ray cluster that take one job at a time.

    Args:
        address: "auto" for the cluster of this machine or of RAY_ADDRESS, HOST:PORT or ray://HOST:PORT.
        work: settings of the processing of jobs.
        count: number of actors; 0 means one for each core of the cluster.
        watcher: receives the progress.
    Raises:
        DependencyError: Ray is not installed.
        PlanError: there is no such cluster, or one of another version of Ray.
    """

    def __init__(self, address: str, work: Work, count: int, watcher: Watcher) -> None:
        require("ray", "--cluster")
        self._ray = _connect(address)
        self.work = work
        self.watcher = watcher
        resources = self._ray.cluster_resources()
        self.count = count or max(1, int(resources.get("CPU", 1)))
        self._resources: dict[str, float] = {"num_cpus": 1}
        if resources.get("GPU") and work.processor.uses_gpu():
            self._resources["num_gpus"] = min(1.0, int(resources["GPU"] / self.count * 1000) / 1000)
        self._class = self._ray.remote(Actor)
        self._pending: dict[Any, _RemoteActor] = {}
        self._ended: deque[Outcome] = deque()
        self._deaths = 0
        self._retries: Counter[int] = Counter()

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Yield the outcomes as the jobs end.

        Raises:
            AudiotoolError: no actor can be started, or one cannot load the model.
        """
        self._jobs = jobs
        self._waiting = deque(range(len(jobs)))
        count, waited = 0, 0.0
        try:
            for _ in range(min(self.count, len(jobs))):
                self._start_actor()
            while count < len(jobs):
                with _whole_requests():
                    ready, _ = self._ray.wait(list(self._pending), timeout=POLL_SECONDS)
                for reference in ready:
                    self._receive(reference)
                if not ready:
                    self._update_positions()
                    waited += POLL_SECONDS
                    if waited == WAIT_SECONDS and not any(a.opened for a in self._pending.values()):
                        log.warning("waiting for the cluster: it has not started a worker yet")
                count += len(self._ended)
                while self._ended:
                    yield self._ended.popleft()
        finally:
            self._stop()

    def _start_actor(self) -> None:
        options = self._class.options(max_concurrency=3, max_restarts=0, **self._resources)
        handle = options.remote(self.work, os.getcwd(), log.getEffectiveLevel())
        self._pending[handle.version.remote()] = _RemoteActor(handle)

    def _receive(self, reference: Any) -> None:
        actor = self._pending.pop(reference)
        try:
            with _whole_requests():
                value = self._ray.get(reference)
        except self._ray.exceptions.RayActorError as error:
            self._replace(actor, error)
            return
        except self._ray.exceptions.RayError as error:
            raise AudiotoolError(f"a worker of the cluster failed: {_reason(error)}") from error
        self._deaths = 0
        if isinstance(value, AudiotoolError):
            raise value
        if isinstance(value, Outcome):
            self._finish(value)
        elif value is not None:
            self._check_version(*value)
            self._pending[actor.handle.open.remote()] = actor
            return
        actor.opened = True
        self._assign(actor)

    def _check_version(self, version: str, host: str) -> None:
        if version != __version__:
            raise AudiotoolError(
                f"the cluster's machine {host} has audiotool {version}, and this one {__version__}:"
                " install the same on all"
            )

    def _assign(self, actor: _RemoteActor) -> None:
        while self._waiting:
            actor.index = self._waiting.popleft()
            job = self._jobs[actor.index]
            if self._retries[actor.index]:
                # A dead actor may have written its outputs.
                job = job._replace(existing="overwrite")
            self.watcher.started(job)
            try:
                for path in job.target.paths:
                    # Made here and not by the actor: one that does not see it does not share files with us.
                    path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                self._finish(failed(job, f"{job.name}: cannot write {path}: {cause(error)}"))
                continue
            self._pending[actor.handle.do.remote(job)] = actor
            return
        actor.index = None
        self._ray.kill(actor.handle)

    def _finish(self, outcome: Outcome) -> None:
        self._ended.append(outcome)
        self.watcher.finished(outcome)

    def _replace(self, actor: _RemoteActor, error: Exception) -> None:
        """Replace an actor that has died, and queue its job again."""
        if actor.index is None:
            self._deaths += 1
            if self._deaths > MAX_START_FAILURES:
                raise AudiotoolError(f"the cluster's workers die as they start: {_reason(error)}") from error
        elif self._retries[actor.index] < RETRIES:
            self._retries[actor.index] += 1
            self._waiting.appendleft(actor.index)
        else:
            job = self._jobs[actor.index]
            self._finish(failed(job, f"{job.name}: {RETRIES + 1} workers died at it: {_reason(error)}"))
        if self._waiting:
            self._start_actor()

    def _update_positions(self) -> None:
        polled = {a.handle.position.remote(): a for a in self._pending.values() if a.index is not None}
        with _whole_requests():
            ready, _ = (
                self._ray.wait(list(polled), num_returns=len(polled), timeout=0.1) if polled else ([], [])
            )
        for reference in ready:
            index = polled[reference].index
            try:
                with _whole_requests():
                    position = self._ray.get(reference)
            except self._ray.exceptions.RayError:
                # The job of a dead actor reports its death.
                continue
            if position is not None and index is not None:
                self.watcher.advanced(self._jobs[index], *position)

    def _stop(self) -> None:
        """Stop all actors, and remove the unfinished outputs of dead ones."""
        working = {r: a for r, a in self._pending.items() if a.index is not None}
        for actor in working.values():
            actor.handle.stop.remote()
        if working:
            self._ray.wait(list(working), num_returns=len(working), timeout=PATIENCE_SECONDS)
        for actor in self._pending.values():
            self._ray.kill(actor.handle)
        lost = {*self._retries, *(a.index for a in working.values() if a.index is not None)}
        clean_up(self._jobs[n] for n in lost)
        self._ray.shutdown()


def _whole_requests() -> contextlib.AbstractContextManager[None]:
    """Raise requests to end behind a call of Ray, which makes an exit with code 1 of every one but Ctrl-C."""
    return deferred(signal.SIGTERM, *HANG_UP)


def check_inputs(jobs: Sequence[Job]) -> None:
    """Check that all inputs can be read on a cluster.

    Raises:
        PlanError: an input is a pipe.
    """
    for job in jobs:
        if PIPE in (str(job.source), *map(str, job.target.stems)):
            raise PlanError("a pipe goes to no cluster: name files, or leave --cluster out")


def _connect(address: str) -> Any:
    """Connect to the cluster and return the module ray.

    Raises:
        PlanError: there is no such cluster.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import ray

    of_shell = os.environ.get("RAY_ADDRESS") if address == "auto" else None
    resolved = of_shell or address
    if resolved != "auto":
        _check_reachable(resolved, "RAY_ADDRESS" if of_shell else "--cluster")
    # Ray sets a handler of its own.
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(resolved, log_to_driver=False, logging_level=logging.ERROR, configure_logging=True)
    except ConnectionError as error:
        advice = "start one with `ray start --head`, or name its address: --cluster HOST:PORT"
        problem = (
            "no Ray cluster runs here" if resolved == "auto" else f"no Ray cluster answers at {resolved}"
        )
        raise PlanError(f"{problem}: {advice}") from error
    except Exception as error:
        raise PlanError(f"the Ray cluster at {resolved} cannot be used: {_reason(error)}") from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)
    return ray


def _check_reachable(address: str, option: str) -> None:
    """Check that the address answers, because Ray itself would try for minutes.

    Args:
        option: the option or variable that gave the address, for messages.
    Raises:
        PlanError: the address is malformed or does not answer.
    """
    try:
        parts = urlsplit(address if "://" in address else f"ray://{address}")
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError:
        scheme, host, port = "", None, None
    if scheme != "ray" or host is None or port is None:
        raise PlanError(f"{option} is auto, HOST:PORT or ray://HOST:PORT, not '{address}'")
    try:
        socket.create_connection((host, port), CONNECT_SECONDS).close()
    except OSError as error:
        given = " (RAY_ADDRESS)" if option == "RAY_ADDRESS" else ""
        raise PlanError(f"no Ray cluster answers at {address}{given}: {error.strerror or error}") from error


def _reason(error: Exception) -> str:
    """Return the line of a Ray error that says what happened: the last one that is not empty."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
