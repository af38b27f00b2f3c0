"""Workers: the next job is handed to them ahead, and what becomes of it."""

from __future__ import annotations

import logging
import math
import os
import signal
import threading
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import pytest
from kit.limits import open_files_left
from kit.patience import PATIENCE, wait_until
from kit.scripted import Scripted

from audiotool.batch import pool
from audiotool.batch.job import Job
from audiotool.batch.plan import Plan
from audiotool.batch.processes import context
from audiotool.batch.run import rest, run
from audiotool.batch.watch import SilentWatcher
from audiotool.batch.work import Outcome, Work
from audiotool.errors import AudiotoolError
from audiotool.metrics.values import Value
from audiotool.tasks.base import Scoring


@pytest.fixture
def scripted(tmp_path: Path) -> Scripted:
    return Scripted(tmp_path)


@pytest.fixture(params=[0.0, math.inf], ids=["alone", "ahead"])
def short_seconds(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> float:
    """No job counts as short, or each does, however slow the machine is."""
    monkeypatch.setattr(pool, "SHORT_SECONDS", request.param)
    return float(request.param)


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "SHORT_SECONDS", math.inf)


TOGETHER = ("after 1", "after 0")
"""The first two jobs, which end when both workers have begun, however late one starts."""


class Follower(SilentWatcher):
    """Looks at the workers of a pool whenever a job begins or ends, and when its worker has the next ones."""

    def __init__(self) -> None:
        self.pool: pool.Pool
        self.held: list[list[int]] = []
        self.names: list[str] = []

    def started(self, job: Job) -> None:
        self.names.append(job.name)
        self.look()

    def finished(self, outcome: Outcome) -> None:
        self.look()

    def look(self) -> None:
        self.held += [list(worker.jobs) for worker in self.pool._workers]

    def run(self, scripted: Scripted, *texts: str) -> Generator[Outcome, None, None]:
        """Run jobs in two workers. When an outcome comes, its worker has been handed its next jobs."""
        self.pool = pool.Pool(Work(scripted), 2, self)
        with closing(self.pool.run(scripted.jobs(*texts))) as outcomes:
            for outcome in outcomes:
                self.look()
                yield outcome


def test_every_job_is_done_once(scripted: Scripted, short_seconds: float) -> None:
    follower = Follower()
    outcomes = list(follower.run(scripted, *["short"] * 12))
    names = {str(n) for n in range(12)}
    assert {o.job.name for o in outcomes if o.status == "done"} == names
    assert len(outcomes) == len(follower.names) == len(scripted.begun()) == 12
    assert set(follower.names) == set(scripted.begun()) == names
    assert max(map(len, follower.held)) == (2 if short_seconds else 1)


def test_a_worker_goes_on_while_the_parent_is_busy(scripted: Scripted, ahead: None) -> None:
    class Busy(Follower):
        went_on = 0

        def finished(self, outcome: Outcome) -> None:
            """Be busy after a job until its worker has begun the one ahead, without being told to."""
            ahead = {str(worker.jobs[0]) for worker in self.pool._workers if worker.jobs} - set(self.names)
            if ahead:
                wait_until(lambda: ahead <= set(scripted.begun()))
                self.went_on += 1

    follower = Busy()
    assert len(list(follower.run(scripted, *["short"] * 12))) == 12
    assert follower.went_on, "no worker was handed a job ahead"


@pytest.mark.parametrize("ended", [1, 10], ids=["others wait", "the other worker is idle"])
def test_only_the_job_in_work_is_lost_with_its_worker(scripted: Scripted, ahead: None, ended: int) -> None:
    follower = Follower()
    outcomes = {}
    # Whichever of the first two jobs is heard of first, its worker is handed job 2, and job 3 ahead.
    for outcome in follower.run(scripted, *TOGETHER, "wait die", *["short"] * 9):
        outcomes[outcome.job.name] = outcome
        if len(outcomes) == ended:
            assert [2, 3] in [list(worker.jobs) for worker in follower.pool._workers]
            scripted.go.touch()
    assert {name for name, o in outcomes.items() if o.status == "failed"} == {"2"}
    assert "killed by signal 9" in str(outcomes["2"].error)
    assert sorted(path.stem for path in (scripted.folder / "out").iterdir()) == sorted({*outcomes} - {"2"})
    assert sorted(scripted.begun(), key=int) == [str(n) for n in range(12)], "each job was begun once"


def test_a_job_ahead_is_not_begun_after_the_end(scripted: Scripted, ahead: None) -> None:
    follower = Follower()
    running = follower.run(scripted, *TOGETHER, "wait", "ahead", "wait", *["ahead"] * 7)
    assert {next(running).job.name, next(running).job.name} == {"0", "1"}
    assert sorted(list(worker.jobs) for worker in follower.pool._workers) == [[2, 3], [4, 5]]
    wait_until(lambda: {"2", "4"} <= set(scripted.begun()))
    running.close()
    assert sorted(scripted.begun()) == ["0", "1", "2", "4"]
    assert set(follower.names) == {"0", "1", "2", "4"}
    assert sorted(path.stem for path in (scripted.folder / "out").iterdir()) == ["0", "1"]


@pytest.mark.parametrize("text", ["", " tell"], ids=["a short message", "a message that fills the pipe"])
def test_an_interrupt_loses_no_job_that_has_ended(scripted: Scripted, text: str) -> None:
    class Interrupted(Follower):
        def finished(self, outcome: Outcome) -> None:
            """Interrupt the run where the other worker has ended its job, too, and was not heard of."""
            if self.pool._workers:
                (other,) = [w for w in self.pool._workers if w.jobs]
                wait_until(other.pipe.poll)
                raise KeyboardInterrupt

    running = Interrupted().run(scripted, *(words + text for words in TOGETHER), *["wait"] * 4)
    outcomes = [next(running), next(running)]
    with pytest.raises(KeyboardInterrupt):
        next(running)
    assert sorted((o.job.name, o.status) for o in outcomes) == [("0", "done"), ("1", "done")]
    assert sorted(path.name for path in (scripted.folder / "out").iterdir()) == ["0.out", "1.out"]


@pytest.mark.parametrize("count", [1, 2])
def test_an_interrupt_while_an_output_is_scored_loses_no_notes(scripted: Scripted, count: int) -> None:
    """Its output is there, and no later run makes it again."""
    jobs = [job._replace(references=(Path("clean.wav"),)) for job in scripted.jobs("tell score", "wait")]
    running = run(Plan(jobs), Work(scripted, Scoring(("stoi",), best="stoi")), count)

    def interrupt() -> None:
        wait_until(scripted.scoring.exists)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    outcomes: list[Outcome] = []
    with pytest.raises(KeyboardInterrupt):
        outcomes.extend(running)
    [outcome] = outcomes
    assert (outcome.job.name, outcome.status) == ("0", "done")
    assert outcome.row.values["stoi"] == Value(None, "interrupted")
    assert outcome.row.facts["output"] == str(scripted.folder / "out" / "0.out")
    assert len(outcome.row.notes[0]) == 1 << 20


def test_an_error_between_two_outcomes_loses_no_job_that_has_ended(scripted: Scripted) -> None:
    workers = pool.Pool(Work(scripted), 2, SilentWatcher())
    running = workers.run(scripted.jobs(*TOGETHER))
    first = next(running)
    wait_until(lambda: workers._ended or any(w.jobs and w.pipe.poll() for w in workers._workers))
    others = list(rest(running, ValueError("of the caller")))
    assert {first.job.name, *(o.job.name for o in others)} == {"0", "1"}


def test_a_worker_that_is_killed_costs_its_job(scripted: Scripted, short_seconds: float) -> None:
    class Killer(Follower):
        def started(self, job: Job) -> None:
            super().started(job)
            if job.name == "1":
                (victim,) = [worker for worker in self.pool._workers if 1 in worker.jobs]
                victim.process.kill()

    # Job 1 waits until its worker is killed, if it is begun at all.
    outcomes = {o.job.name: o for o in Killer().run(scripted, "short", "wait", "short")}
    assert {name: o.status for name, o in outcomes.items()} == {"0": "done", "1": "failed", "2": "done"}
    assert "killed by signal 9" in str(outcomes["1"].error)
    assert {path.stem for path in (scripted.folder / "out").iterdir()} == {"0", "2"}


def test_a_worker_that_dies_between_two_jobs_costs_none(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "SHORT_SECONDS", 0.0)

    class Killer(Follower):
        def finished(self, outcome: Outcome) -> None:
            if outcome.job.name == "0":
                (done,) = [w for w in self.pool._workers if w.ready and not w.jobs]
                done.process.kill()
                done.process.join()
            scripted.go.touch()

    follower = Killer()
    outcomes = list(follower.run(scripted, "short", "wait", *["short"] * 4))
    assert [o.status for o in outcomes] == ["done"] * 6


def test_a_worker_ends_quietly_where_its_parent_is_gone_and_had_not_read_all(scripted: Scripted) -> None:
    parent_end, worker_end = context().Pipe()
    arguments = (worker_end, Work(scripted), True, logging.WARNING, dict(os.environ))
    worker = context().Process(target=pool._work_loop, args=arguments)
    worker.start()
    worker_end.close()
    wait_until(parent_end.poll)  # for "ready", which is never read
    parent_end.close()
    worker.join(PATIENCE)
    assert worker.exitcode == 0


def test_several_workers_begin_with_the_largest_inputs(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "SHORT_SECONDS", 0.0)
    jobs = scripted.jobs("a", "a" * 30, "a" * 10, "a" * 20, "a" * 20)
    follower = Follower()
    follower.look = lambda: None  # type: ignore[method-assign]
    outcomes = list(run(Plan(jobs), Work(scripted), 2, follower))
    assert follower.names == ["1", "3", "4", "2", "0"]
    assert {o.job.name for o in outcomes} == set("01234")
    follower.names.clear()
    assert [o.job.name for o in run(Plan(jobs), Work(scripted), 1, follower)] == list("01234")
    assert follower.names == list("01234")


def test_as_many_workers_are_started_as_open_files_allow(
    scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = scripted.jobs(*["short"] * 12)
    context()
    with open_files_left(20):
        outcomes = list(run(Plan(jobs), Work(scripted), 12))
    assert [o.status for o in outcomes] == ["done"] * 12
    assert "12 worker processes need more open files than `ulimit -n` allows: going on with 2" in caplog.text


def test_too_few_open_files_for_any_worker_are_an_error(scripted: Scripted) -> None:
    context()
    with open_files_left(10), pytest.raises(AudiotoolError, match="too few open files for a worker"):
        list(run(Plan(scripted.jobs("short", "short")), Work(scripted), 2))


def there(*jobs: Job) -> list[Job]:
    """Jobs with a reference whose outputs are there."""
    for job in jobs:
        job.target.paths[0].parent.mkdir(exist_ok=True)
        job.target.paths[0].touch()
    return [job._replace(references=(Path("clean.wav"),), existing="skip") for job in jobs]


def test_workers_score_what_is_skipped_before_and_beside_new_files(scripted: Scripted) -> None:
    *skipped, new = scripted.jobs("score", "short", "short", "short")
    follower = Follower()
    follower.look = lambda: None  # type: ignore[method-assign]
    outcomes = []
    work = Work(scripted, Scoring(("stoi",), best="stoi"))
    for outcome in run(Plan([new], there(*skipped)), work, 2, follower):
        outcomes.append((outcome.job.name, outcome.status))
        if len(outcomes) == 3:
            scripted.go.touch()
    assert outcomes == [("1", "skipped"), ("2", "skipped"), ("3", "done"), ("0", "skipped")]
    assert follower.names == ["3"], "what is skipped is not begun"
    assert scripted.begun() == ["3"]


def test_no_model_is_loaded_where_all_is_skipped(tmp_path: Path) -> None:
    scripted = Scripted(tmp_path, loads=False)
    jobs = scripted.jobs("short", "short", "short")
    work = Work(scripted, Scoring(("stoi",), best="stoi"))
    assert {o.status for o in run(Plan([], there(*jobs)), work, 2)} == {"skipped"}
    with pytest.raises(AudiotoolError, match="no model"):
        list(run(Plan(jobs[:1], there(*jobs[1:])), work, 2))


def test_inputs_of_unknown_size_come_last(scripted: Scripted) -> None:
    (job,) = scripted.jobs("text")
    assert job.size == 4
    assert job._replace(source="s3://bucket/a.wav").size == 0
    assert job._replace(source=scripted.folder / "missing.wav").size == 0
