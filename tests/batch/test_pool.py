"""Workers: the next job is handed to them ahead, and what becomes of it."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest
from kit.scripted import PATIENCE, Scripted

from audiotool.batch import pool
from audiotool.batch.job import Job
from audiotool.batch.plan import Plan
from audiotool.batch.run import run
from audiotool.batch.watch import SilentWatcher
from audiotool.batch.work import Outcome, Work


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


class Follower(SilentWatcher):
    """Looks at the workers of a pool whenever something begins or ends."""

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


def pool_of(scripted: Scripted, follower: Follower) -> pool.Pool:
    follower.pool = pool.Pool(Work(scripted), 2, follower)
    return follower.pool


def test_every_job_is_done_once(scripted: Scripted, short_seconds: float) -> None:
    follower = Follower()
    jobs = scripted.jobs(*["short"] * 12)
    outcomes = list(pool_of(scripted, follower).run(jobs))
    names = {str(n) for n in range(12)}
    assert {o.job.name for o in outcomes if o.status == "done"} == names
    assert len(outcomes) == len(follower.names) == len(scripted.begun()) == 12
    assert set(follower.names) == set(scripted.begun()) == names
    assert max(map(len, follower.held)) == (2 if short_seconds else 1)


def test_a_worker_goes_on_while_the_parent_is_busy(scripted: Scripted, ahead: None) -> None:
    class Busy(Follower):
        grown = False

        def finished(self, outcome: Outcome) -> None:
            """Be busy after a job, once its worker has another, until that one has begun."""
            if self.grown or not any(len(held) == 2 for held in self.held):
                self.look()
                return
            deadline = time.monotonic() + PATIENCE
            while not set(scripted.begun()) - set(self.names) and time.monotonic() < deadline:
                time.sleep(0.01)
            self.grown = bool(set(scripted.begun()) - set(self.names))

    follower = Busy()
    assert len(list(pool_of(scripted, follower).run(scripted.jobs(*["short"] * 20)))) == 20
    assert follower.grown, "a worker had to wait until its parent was told what it had done"


def test_only_the_job_in_work_is_lost_with_its_worker(scripted: Scripted, ahead: None) -> None:
    class Killer(Follower):
        def look(self) -> None:
            super().look()
            if any(len(held) == 2 and held[0] == 2 for held in self.held):
                scripted.go.touch()

    follower = Killer()
    jobs = scripted.jobs(*["short"] * 2, "wait die", *["short"] * 9)
    outcomes = {o.job.name: o for o in pool_of(scripted, follower).run(jobs)}
    assert scripted.go.exists(), "the worker was handed a job ahead"
    assert {name for name, o in outcomes.items() if o.status == "failed"} == {"2"}
    assert "killed by signal 9" in str(outcomes["2"].error)
    assert sorted(scripted.begun(), key=int) == [str(n) for n in range(12)], "each job was begun once"


def test_a_job_ahead_is_not_begun_after_the_end(scripted: Scripted, ahead: None) -> None:
    follower = Follower()
    running = pool_of(scripted, follower).run(scripted.jobs(*["short"] * 2, "wait", *["short"] * 9))
    ended = []
    for outcome in running:
        ended.append(outcome.job.name)
        waiting = next((held for held in follower.held if len(held) == 2 and held[0] == 2), None)
        if waiting:
            break
    running.close()
    assert waiting is not None
    assert "2" in scripted.begun()
    assert str(waiting[1]) not in {*scripted.begun(), *ended, *follower.names}
    assert sorted(path.stem for path in (scripted.folder / "out").iterdir()) == sorted(ended)


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
    outcomes = list(pool_of(scripted, follower).run(scripted.jobs("short", "wait", *["short"] * 4)))
    assert [o.status for o in outcomes] == ["done"] * 6


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


def test_inputs_of_unknown_size_come_last(scripted: Scripted) -> None:
    (job,) = scripted.jobs("text")
    assert job.size == 4
    assert job._replace(source="s3://bucket/a.wav").size == 0
    assert job._replace(source=scripted.folder / "missing.wav").size == 0
