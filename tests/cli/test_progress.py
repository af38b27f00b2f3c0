"""Progress: bars on a terminal, plain lines elsewhere, errors always."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kit.audio import write_speech
from rich.progress import TaskID

from audiotool.audio.target import Target
from audiotool.batch.job import Job
from audiotool.batch.plan import Plan
from audiotool.batch.watch import Watcher
from audiotool.batch.work import Outcome, Status, failed
from audiotool.cli import progress
from audiotool.cli.progress import Events, batch_summary, make_watcher
from audiotool.metrics.rows import Row
from audiotool.metrics.values import Value

pytestmark = pytest.mark.fast


class Terminal(io.StringIO):
    """Something that claims to be a terminal, or not."""

    def __init__(self, tty: bool) -> None:
        super().__init__()
        self._tty = tty

    def isatty(self) -> bool:
        return self._tty

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]


def put_in_place_of_stderr(monkeypatch: pytest.MonkeyPatch, tty: bool = True) -> Terminal:
    """Return what is written on standard error from now on; a fixture would come too early for pytest."""
    screen = Terminal(tty)
    monkeypatch.setattr(sys, "stderr", screen)
    return screen


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds, which the test sets."""
    found = [0.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: found[0]))
    return found


def show(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tty: bool, quiet: bool = False, columns: int = 120
) -> str:
    """Everything on stderr while two files are processed, the second in vain."""
    screen = put_in_place_of_stderr(monkeypatch, tty)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    good = Job("good.wav", write_speech(tmp_path / "good.wav", 2.0), Target(("out/good.wav",)))
    bad = Job("bad.wav", tmp_path / "bad.wav", Target(("out/bad.wav",)))
    with make_watcher("denoising", Plan([good, bad]), quiet) as watcher:
        watcher.started(good)
        watcher.advanced(good, 16000, 32000)
        if tty and not quiet:
            watcher.progress.refresh()  # type: ignore[attr-defined]
        row = Row("good.wav", facts={"real_time_factor": 31.0}, notes=["3 samples were limited"])
        watcher.finished(Outcome(good, "done", [row], seconds=2.0))
        watcher.started(bad)
        watcher.finished(failed(bad, "bad.wav holds\nno audio"))
    return screen.getvalue()


def test_plain_lines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lines = show(monkeypatch, tmp_path, tty=False).splitlines()
    assert lines == [
        "audiotool: [1/2] good.wav -> out/good.wav (2.0 s, 31.0x real time)",
        "audiotool: good.wav: 3 samples were limited",
        "audiotool: [2/2] bad.wav holds no audio",
    ]


def test_bars(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = show(monkeypatch, tmp_path, tty=True)
    assert "denoising" in text
    assert re.search("good.wav [^\n]*━", text)
    assert "1 s" in text
    assert "x real time" in text
    assert "2/2" in text
    assert "bad.wav holds no audio" in text
    assert "3 samples were limited" in text


@pytest.mark.parametrize("columns", [40, 60])
def test_bars_on_a_narrow_terminal_name_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, columns: int
) -> None:
    text = show(monkeypatch, tmp_path, tty=True, columns=columns)
    bars = [line for line in re.split(r"[\r\n]", text) if "━" in line and "1 s" in line]
    assert bars
    assert all("good.wav " in line for line in bars)


@pytest.mark.parametrize("tty", [True, False])
def test_quiet_says_errors_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tty: bool) -> None:
    assert show(monkeypatch, tmp_path, tty, quiet=True) == "audiotool: bad.wav holds no audio\n"


def outcomes(*statuses: Status) -> list[Outcome]:
    job = Job("a.wav", Path("a.wav"), Target(("b.wav",)))
    return [
        Outcome(job, status, [Row("a.wav")], seconds=0.0 if status == "failed" else 2.0)
        for status in statuses
    ]


def test_a_batch_in_one_line() -> None:
    assert batch_summary(outcomes("done", "done"), 0.5) == (
        "2 files done; 4.0 s of audio in 0.5 s, 8.0x real time"
    )
    scored = outcomes("done")[0]._replace(rows=[Row("a.wav", {"pesq": Value(2.5)})])
    assert batch_summary([scored, *outcomes("done")], 0.5) == (
        "2 files done; 4.0 s of audio in 0.5 s, scoring included"
    )
    assert batch_summary([], 0.5) == "0 files done"
    assert batch_summary(outcomes("failed", "failed"), 0.5) == "2 of 2 files failed"
    assert batch_summary(outcomes("done", "skipped", "failed"), 1.0).startswith(
        "1 of 3 files failed, 1 were there already; 4.0 s"
    )


def test_what_is_left_to_another_process_is_not_counted_as_done() -> None:
    left = outcomes("skipped")[0]._replace(error="a.wav: left to another process", seconds=0.0)
    skipped = outcomes("skipped")[0]._replace(seconds=0.0)
    done, bad = outcomes("done", "failed")
    assert batch_summary([skipped, left], 1.0) == (
        "1 file done, 1 of them there already, 1 left to another process"
    )
    assert batch_summary([left], 1.0) == "0 files done, 1 left to another process"
    assert batch_summary([done, bad, skipped, left], 1.0).startswith(
        "1 of 4 files failed, 1 were there already, 1 left to another process; 2.0 s"
    )


def test_events(monkeypatch: pytest.MonkeyPatch, now: list[float]) -> None:
    screen = put_in_place_of_stderr(monkeypatch)
    good, bad = (Job(f"{name}.wav", Path(f"{name}.wav"), Target(("out.wav",))) for name in ("good", "bad"))
    with Events("denoise", 2) as events:
        events.started(good)
        events.advanced(good, 1, 2)
        now[0] += 1.0
        events.advanced(good, 3, 4)
        events.advanced(good, 4, 4)
        events.finished(Outcome(good, "done", [Row("good.wav", facts={"peak": 0.5})], seconds=2.0))
        events.started(bad)
        events.finished(failed(bad, "bad.wav holds\nno audio"))
    lines = screen.events()
    assert [line["event"] for line in lines] == [
        *("begun", "started", "progress", "done", "started", "failed", "ended"),
    ]
    assert all(line["schema"] == 1 for line in lines)
    assert lines[2]["share"] == 0.75, "once a second at most"
    assert lines[3]["peak"] == 0.5
    assert (lines[3]["finished"], lines[3]["total"]) == (1, 2)
    assert lines[5]["error"] == "bad.wav holds no audio"
    assert lines[5]["eta_seconds"] == 0
    assert [lines[6][name] for name in ("done", "skipped", "failed")] == [1, 0, 1]
    assert lines[6]["audio_seconds"] == 2.0


@pytest.fixture
def sized(tmp_path: Path) -> list[Job]:
    """Jobs whose inputs have 600, 300 and 100 bytes, and before them three whose outputs are there."""
    jobs = []
    for n, size in enumerate((50, 50, 50, 600, 300, 100)):
        (tmp_path / f"{n}.wav").write_bytes(bytes(size))
        jobs.append(Job(f"{n}.wav", tmp_path / f"{n}.wav", Target((f"out/{n}.wav",))))
    return jobs


def work_through(watcher: Watcher, jobs: list[Job], now: list[float]) -> None:
    """Skip three files within 3 s, load a model in 10 s, and work at 10 bytes/s; now is 113 at the end."""
    for job in jobs[:3]:
        now[0] += 1.0
        watcher.finished(Outcome(job, "skipped", [Row(job.name)]))
    now[0] += 10.0
    for job in jobs[3:]:
        watcher.started(job)
        now[0] += job.size / 20
        watcher.advanced(job, 1, 2)
        now[0] += job.size / 20
        watcher.finished(Outcome(job, "done", [Row(job.name)], seconds=1.0))


def test_the_time_that_is_left_is_that_of_the_bytes_to_do(
    monkeypatch: pytest.MonkeyPatch, now: list[float], sized: list[Job]
) -> None:
    screen = put_in_place_of_stderr(monkeypatch)
    with Events("denoise", 6, sized[3:]) as events:
        work_through(events, sized, now)
    lines = screen.events()
    left = [(line["event"], line["eta_seconds"]) for line in lines if "eta_seconds" in line]
    assert left[:3] == [("skipped", None)] * 3
    assert left[3:] == [
        *[("progress", 70), ("done", 40), ("progress", 25)],
        *[("done", 10), ("progress", 5), ("done", 0)],
    ]


def test_inputs_of_unknown_size_count_the_same(
    monkeypatch: pytest.MonkeyPatch, now: list[float], sized: list[Job]
) -> None:
    screen = put_in_place_of_stderr(monkeypatch)
    jobs = [
        *sized[4:],
        Job("b", "s3://bucket/b.wav", Target(("b.wav",))),
        Job("c", "c", Target(()), obstacle="no"),
    ]
    with Events("denoise", 4, jobs) as events:
        events.started(jobs[0])
        now[0] += 7.0
        events.finished(Outcome(jobs[0], "done", [Row("a")]))
    assert screen.events()[2]["eta_seconds"] == 14


def test_the_bar_of_a_batch_is_that_of_the_bytes_to_do(
    monkeypatch: pytest.MonkeyPatch, now: list[float], sized: list[Job]
) -> None:
    shown = []
    bars = progress.Bars("denoising", Plan(sized[3:], sized[:3]))
    update = bars.progress.update

    def noted(task: TaskID, **values: Any) -> None:
        update(task, **values)
        batch = bars.progress.tasks[0]
        shown.append((batch.fields["amount"], batch.completed))

    monkeypatch.setattr(bars.progress, "update", noted)
    work_through(bars, sized, now)
    assert list(dict.fromkeys(shown)) == [
        *[("1/6", 0), ("2/6", 0), ("3/6", 0), ("3/6", 300), ("4/6", 600), ("4/6", 750)],
        *[("5/6", 900), ("5/6", 950), ("6/6", 1000)],
    ]
    assert bars.progress.tasks[0].total == 1000
    assert bars.progress.tasks[0].fields["speed"] == "0.0x real time", "3 s in 100 s"
    for scores in ({"pesq": Value(2.5)}, {}):
        bars.finished(Outcome(sized[5], "done", [Row("scored", scores)], seconds=1.0))
        assert not bars.progress.tasks[0].fields["speed"], "the time has the scoring in it"


def test_jobs_of_one_input_have_bars_of_their_own(
    monkeypatch: pytest.MonkeyPatch, now: list[float], sized: list[Job]
) -> None:
    """A job that a dead worker began has one bar when it is begun again."""
    long, short = sized[3], sized[3]._replace(target=Target(("again.wav",)))
    bars = progress.Bars("denoising", Plan([long, short]))

    def shown() -> list[float]:
        return [bar.completed for bar in bars.progress.tasks]

    for job in (long, short):
        bars.started(job)
    bars.advanced(long, 1, 2)
    bars.advanced(short, 3, 4)
    assert shown() == [300 + 450, 1, 3]
    bars.finished(Outcome(short, "done", [Row(short.name)]))
    bars.advanced(long, 2, 2)
    assert shown() == [600 + 600, 2]
    bars.started(long._replace(existing="overwrite"))
    assert shown() == [1200, 0]


def test_a_file_of_several_stems_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = put_in_place_of_stderr(monkeypatch)
    with Events("separate", 2) as events:
        for name in ("a", "b"):
            job = Job(f"{name}.wav", Path(f"{name}.wav"), Target(("1.wav", "2.wav")))
            events.finished(Outcome(job, "done", [Row(f"{name}: 1"), Row(f"{name}: 2")]))
    lines = screen.events()
    assert [(line["file"], line["finished"]) for line in lines[1:-1]] == [
        *[("a: 1", 1), ("a: 2", 1), ("b: 1", 2), ("b: 2", 2)]
    ]
    assert lines[-1]["done"] == 2


def test_events_of_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = put_in_place_of_stderr(monkeypatch)
    with Events("evaluate", 2) as events:
        events.scored(Row("a", {"snr": Value(3.0)}, facts={"seconds": 1.5}))
        events.scored(Row("b", {"snr": Value(None, "b.wav holds\nno audio")}, failed=True))
    _, good, bad, end = screen.events()
    assert (good["event"], good["snr"]) == ("done", 3.0)
    assert "error" not in good
    assert (bad["event"], bad["error"]) == ("failed", "b.wav holds no audio")
    assert (end["done"], end["failed"], end["audio_seconds"]) == (1, 1, 1.5)
