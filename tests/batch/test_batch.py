"""Batches that run: a bad file or a dead worker fails alone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kit.audio import write_speech
from kit.command import imported_by
from kit.scripted import Scripted

import audiotool
from audiotool.atomic import replacing
from audiotool.batch.job import Existing, Job
from audiotool.batch.listing import read_list
from audiotool.batch.plan import Layout, Plan, make_plan
from audiotool.batch.run import run
from audiotool.batch.shards import Shard
from audiotool.batch.watch import SilentWatcher
from audiotool.batch.work import Outcome, Work, do
from audiotool.errors import CheckpointError, PlanError
from audiotool.files.processor import FileResult
from audiotool.tasks.base import Scoring
from audiotool.tasks.inference import Inference

LONG = "x" * 250 + ".wav"


@pytest.fixture
def work(tiny_checkpoint: Path) -> Work:
    return Work(Inference("denoise", str(tiny_checkpoint), "cpu"))


def unusable(kind: str, folder: Path, out: Path) -> tuple[list[str], dict[str, Any], str]:
    """Inputs and options of which one job cannot be done, and why."""
    if kind == "name too long":
        write_speech(folder / LONG, 0.1)
        return [str(folder)], {"suffix": "_denoised"}, "longer than 255 bytes"
    if kind == "a folder in its place":
        (out / "a.wav").mkdir(parents=True)
        return [str(folder)], {"existing": "skip"}, "it is a folder"
    if kind == "a file in its folder's place":
        out.mkdir()
        (out / "sub").touch()
        return [str(folder)], {}, "is not a folder"
    listing = folder.parent / "list.txt"
    listing.write_text(f"{folder}/a.wav\n\n{folder}/notes.txt\n{folder}/sub/b.flac\n")
    return [], {"listed": read_list(str(listing))}, f"{listing}: line 3: .*the ending '.txt'"


@pytest.mark.parametrize(
    "kind",
    ["name too long", "a folder in its place", "a file in its folder's place", "an unknown ending"],
)
def test_an_output_that_cannot_be_written_costs_only_itself(
    folder: Path, tmp_path: Path, work: Work, kind: str
) -> None:
    inputs, options, reason = unusable(kind, folder, tmp_path / "out")
    log = Log()
    plan = make_plan(inputs, Layout(output=str(tmp_path / "out"), **options))
    outcomes = list(run(plan, work, watcher=log))
    bad = [o for o in outcomes if o.status == "failed"]
    assert 1 <= len(bad) < len(outcomes)
    assert all(re.search(reason, str(o.error)) for o in bad)
    assert {o.status for o in outcomes} == {"failed", "done"}
    assert sorted(name for status, name in log.events if status in ("failed", "done")) == sorted(
        o.job.name for o in outcomes
    )
    if kind == "an unknown ending":
        with pytest.raises(PlanError, match=reason):
            make_plan([], Layout(output=str(tmp_path / "out"), listed=options["listed"][1:2]))


def test_a_share_of_unusable_lines_alone_is_reported(folder: Path, tmp_path: Path, work: Work) -> None:
    listing = tmp_path / "list.csv"
    listing.write_text(f"input,output\n{folder}/a.wav,out/a.wav\n{folder}/sub/b.flac,out/b.unknown\n")
    plans = [
        make_plan([], Layout(listed=read_list(str(listing)), shard=Shard(number, 2))) for number in (1, 2)
    ]
    [plan] = [plan for plan in plans if plan.jobs[0].obstacle]
    [outcome] = run(plan, work)
    assert outcome.status == "failed"
    assert "names no audio format" in str(outcome.error)


class Log(SilentWatcher):
    """A watcher that remembers."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    def started(self, job: Job) -> None:
        self.events.append(("started", job.name))

    def advanced(self, job: Job, done: int, total: int | None) -> None:
        assert done <= (total or done)
        self.events.append(("advanced", job.name))

    def finished(self, outcome: Outcome) -> None:
        self.events.append((outcome.status, outcome.job.name))


class Changing(SilentWatcher):
    """A watcher that changes an input while it is processed."""

    def __init__(self, path: Path, kind: str) -> None:
        self.path, self.kind = path, kind
        self.is_pending = True
        os.utime(path, (1e9, 1e9))

    def advanced(self, job: Job, done: int, total: int | None) -> None:
        if Path(job.source) != self.path or not self.is_pending:
            return
        self.is_pending = False
        if self.kind == "gone":
            self.path.unlink()
            return
        write_speech(self.path, 0.3)
        # A copy may keep its time, and may be older.
        changed = {"grown": 1e9 + 0.01, "grown, with its old time": 1e9, "replaced by an older one": 9e8}
        os.utime(self.path, (changed[self.kind],) * 2)


@pytest.mark.parametrize("kind", ["grown", "grown, with its old time", "replaced by an older one"])
def test_an_input_that_changed_while_it_was_read_is_done_again(
    folder: Path, tmp_path: Path, work: Work, kind: str
) -> None:
    layout = Layout(output=str(tmp_path / "out"), residual=str(tmp_path / "rest"), existing="skip")
    first = run(make_plan([str(folder)], layout), work, watcher=Changing(folder / "a.wav", kind))
    notes = {outcome.job.name: outcome.row.notes for outcome in first if outcome.row.notes}
    changed = f"{folder}/a.wav changed while it was read, and its output may be incomplete: do it again"
    assert notes == {"a.wav": [changed]}
    again = make_plan([str(folder)], layout)
    assert [job.name for job in again.jobs] == ["a.wav"]
    assert all(
        outcome.status in ("done", "skipped") and not outcome.row.notes for outcome in run(again, work)
    )
    assert not make_plan([str(folder)], layout).jobs


def test_an_input_of_the_future_is_done_once(folder: Path, tmp_path: Path, work: Work) -> None:
    layout = Layout(output=str(tmp_path / "out"), residual=str(tmp_path / "rest"), existing="skip")
    future = time.time() + 86400.5
    os.utime(folder / "a.wav", (future, future))
    assert {o.status for o in run(make_plan([str(folder)], layout), work)} == {"done"}
    assert not make_plan([str(folder)], layout).jobs
    os.utime(folder / "a.wav", (future + 1, future + 1))
    assert [job.name for job in make_plan([str(folder)], layout).jobs] == ["a.wav"]
    assert (tmp_path / "out" / "sub" / "b.flac").stat().st_mtime < future, "others keep their time"


def test_an_input_that_is_gone_when_it_has_been_read_is_done(
    folder: Path, tmp_path: Path, work: Work
) -> None:
    plan = make_plan([str(folder)], Layout(output=str(tmp_path / "out")))
    outcomes = list(run(plan, work, watcher=Changing(folder / "a.wav", "gone")))
    assert [(o.status, o.row.notes) for o in outcomes] == [("done", [])] * 3


@pytest.mark.parametrize(
    ("existing", "status"), [("refuse", "failed"), ("skip", "skipped"), ("overwrite", "done")]
)
def test_an_output_that_appears_after_the_plan(tmp_path: Path, existing: Existing, status: str) -> None:
    """Another batch writes it before its job begins."""
    out = tmp_path / "out" / "1.out"

    class Another(SilentWatcher):
        def finished(self, outcome: Outcome) -> None:
            if outcome.job.name == "0":
                out.write_bytes(b"of another")

    scripted = Scripted(tmp_path)
    jobs = [job._replace(existing=existing) for job in scripted.jobs("", "")]
    first, second = run(Plan(jobs), Work(scripted), watcher=Another())
    assert (first.status, second.status) == ("done", status)
    assert out.read_bytes() == (b"done" if status == "done" else b"of another")
    assert scripted.begun() == (["0", "1"] if status == "done" else ["0"])
    if status == "failed":
        assert second.error == f"{out} was not there when the batch began, and is kept"


def test_one_of_two_outputs_that_appears_after_the_plan_is_kept(tmp_path: Path) -> None:
    scripted = Scripted(tmp_path)
    [job] = scripted.jobs("")
    first, second = tmp_path / "out" / "0.out", tmp_path / "out" / "0.rest"
    job = job._replace(existing="skip", target=replace(job.target, residual=str(second)))
    second.parent.mkdir()
    second.write_bytes(b"of another")
    [outcome] = run(Plan([job]), Work(scripted))
    assert (outcome.status, scripted.begun(), second.read_bytes()) == ("failed", [], b"of another")
    assert outcome.error is not None
    assert outcome.error.startswith(f"there is {second} already, without {first}")


def test_an_output_that_another_batch_is_writing_is_left_to_it(tmp_path: Path) -> None:
    scripted = Scripted(tmp_path)
    jobs = [job._replace(existing="skip") for job in scripted.jobs("", "")]
    with replacing(tmp_path / "out" / "1.out"):
        first, second = run(Plan(jobs), Work(scripted))
    assert (first.status, second.status) == ("done", "skipped")
    assert second.error == "1: left to another process, which is writing its output"
    assert second.row.facts["status"] == "skipped"
    assert scripted.begun() == ["0"]


def test_an_output_is_claimed_before_its_input_is_read(tmp_path: Path) -> None:
    """Else two batches that begin together do each file both."""
    scripted = Scripted(tmp_path)
    [job] = [job._replace(existing="skip") for job in scripted.jobs("")]
    process, work = scripted.open(1), Work(scripted)
    others = []

    def slow(*arguments: Any) -> FileResult:
        others.append(do(job, process, work))
        return process(*arguments)

    assert do(job, slow, work).status == "done"
    assert [(o.status, o.error) for o in others] == [
        ("skipped", "0: left to another process, which is writing its output")
    ]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["0.out"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_bad_file_costs_only_itself(folder: Path, tmp_path: Path, work: Work, jobs: int) -> None:
    (folder / "bad.wav").write_bytes(b"this is no audio")
    write_speech(tmp_path / "out" / "a.wav")
    plan = make_plan([str(folder)], Layout(output=str(tmp_path / "out"), existing="skip"))
    log = Log()
    outcomes = {o.job.name: o for o in run(plan, work, jobs, log)}
    assert {name: o.status for name, o in outcomes.items()} == {
        "a.wav": "skipped",
        "bad.wav": "failed",
        "sub/b.flac": "done",
        "sub/deep/c.wav": "done",
    }
    assert "cannot be read as audio" in str(outcomes["bad.wav"].error)
    assert audiotool.read(tmp_path / "out" / "sub" / "b.flac")[0].shape == (1, 3200)
    assert sorted(p.name for p in (tmp_path / "out").rglob("*.*")) == ["a.wav", "b.flac", "c.wav"]
    for name in ("bad.wav", "sub/b.flac", "sub/deep/c.wav"):
        assert ("started", name) in log.events
    assert ("advanced", "sub/b.flac") in log.events


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_model_that_cannot_be_loaded_ends_the_batch(folder: Path, tmp_path: Path, jobs: int) -> None:
    plan = make_plan([str(folder)], Layout(output=str(tmp_path / "out")))
    with pytest.raises(CheckpointError, match="no checkpoint"):
        list(run(plan, Work(Inference("denoise", "no-such-checkpoint", "cpu")), jobs))
    assert not (tmp_path / "out").exists()


def test_a_worker_has_the_environment_of_its_batch(
    folder: Path, tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for home in ("one", "other"):
        monkeypatch.setenv("AUDIOTOOL_HOME", str(tmp_path / home))
        kept = tmp_path / home / "checkpoints" / f"of-{home}.safetensors"
        kept.parent.mkdir(parents=True)
        shutil.copy(tiny_checkpoint, kept)
        plan = make_plan([str(folder / "sub")], Layout(output=str(tmp_path / home / "out")))
        outcomes = run(plan, Work(Inference("denoise", f"of-{home}", "cpu")), 2)
        assert [o.status for o in outcomes] == ["done", "done"]


def test_modules_that_workers_share_begin_no_threads() -> None:
    program = (
        "import importlib, sys; from audiotool.batch.processes import PRELOADED\n"
        "[importlib.import_module(name) for name in PRELOADED]\n"
        "heavy = {'onnxruntime', 'torch', 'scipy'} & set(sys.modules); assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no fork server")
def test_workers_begin_however_long_the_path_of_temporary_files_is(tmp_path: Path) -> None:
    long = tmp_path / ("d" * 100)
    long.mkdir()
    program = (
        "from audiotool.batch.processes import context\n"
        "worker = context().Process(target=print, args=('begun',)); worker.start(); worker.join()"
    )
    environment = os.environ | {"TMPDIR": str(long)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.stdout == "begun\n", done.stderr


def test_the_process_that_plans_needs_no_arrays(folder: Path, tmp_path: Path) -> None:
    loaded = imported_by("denoise", folder, "-o", tmp_path / "out", "--jobs", "2", "--quiet")
    assert "audiotool.batch.pool" in loaded, "the list is of the whole run"
    assert not {"numpy", "onnxruntime", "soundfile"} & loaded


def test_scores_stand_beside_the_inputs(folder: Path, tmp_path: Path, work: Work) -> None:
    work = work._replace(scoring=Scoring(("si_sdr",), "si_sdr"))
    inputs = str(folder / "sub")
    layout = Layout(output=str(tmp_path / "out"), reference=inputs)
    outcomes = list(run(make_plan([inputs], layout), work))
    assert outcomes
    for outcome in outcomes:
        assert outcome.row.values["si_sdr"].value is not None
        assert "si_sdr" in outcome.row.baseline
        assert outcome.row.facts["status"] == "done"
    second = list(run(make_plan([inputs], replace(layout, existing="skip")), work))
    assert [o.status for o in second] == ["skipped", "skipped"]
    assert [o.row.values["si_sdr"].value for o in second] == [o.row.values["si_sdr"].value for o in outcomes]


@pytest.mark.parametrize(("name", "subtype", "limited"), [("a.wav", "PCM_16", 4000), ("a.mp3", None, 0)])
def test_limited_samples_are_reported(
    tmp_path: Path, tiny_checkpoint: Path, name: str, subtype: str | None, limited: int
) -> None:
    import numpy as np

    audiotool.write(tmp_path / "loud.wav", np.full(4000, 3.0), 16000, subtype="FLOAT")
    layout = Layout(output=str(tmp_path / name), subtype=subtype)
    work = Work(Inference("denoise", str(tiny_checkpoint), "cpu", settings={"mix": 0.0}))
    [outcome] = run(make_plan([str(tmp_path / "loud.wav")], layout), work)
    assert outcome.row.facts["limited"] == limited
    [note] = outcome.row.notes
    assert "beyond full scale" in note


@pytest.mark.parametrize("scored", [False, True])
def test_a_residual_does_not_count_into_the_outputs_peak(
    tmp_path: Path, tiny_checkpoint: Path, scored: bool
) -> None:
    """The model removes a constant, which is all that is beyond full scale."""
    import numpy as np

    audiotool.write(tmp_path / "loud.wav", np.full(16000, 3.0), 16000, subtype="FLOAT")
    work = Work(Inference("denoise", str(tiny_checkpoint), "cpu"))
    if scored:
        work = work._replace(scoring=Scoring(("si_sdr",), "si_sdr"))
    layout = Layout(
        output=str(tmp_path / "a.wav"),
        residual=str(tmp_path / "rest.wav"),
        subtype="PCM_16",
        reference=str(tmp_path / "loud.wav") if scored else None,
    )
    [outcome] = run(make_plan([str(tmp_path / "loud.wav")], layout), work)
    made = audiotool.read(tmp_path / "a.wav")[0]
    assert outcome.row.facts["limited"] == 0
    assert outcome.row.facts["peak"] == pytest.approx(np.abs(made).max(), abs=1e-4)
    assert np.abs(audiotool.read(tmp_path / "rest.wav")[0]).max() > 0.99
