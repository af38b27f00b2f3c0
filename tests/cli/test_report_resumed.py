"""Reports of batches that are resumed, interrupted or fail: what is known of each file stays."""

from __future__ import annotations

import csv
import itertools
import json
import os
import pkgutil
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from kit.audio import write_speech
from kit.command import run_command
from kit.disk import largest_file
from kit.pages import blocks

from audiotool import signals
from audiotool.batch import run as batch_run
from audiotool.batch.job import Job
from audiotool.batch.work import Outcome, do
from audiotool.errors import AudiotoolError
from audiotool.report.json_document import to_json
from audiotool.report.report import Report
from audiotool.report.write import TEXTS


def test_a_file_that_was_written_is_done_though_it_could_not_be_scored(batch_folder: Path) -> None:
    Path("in/broken.wav").unlink()
    write_speech(Path("ref/a.wav"), 0.5, channels=2)
    Path("ref/b & c.wav").write_bytes(b"")
    reports = [word for ending in ("json", "csv", "md", "html") for word in ("--report", f"r.{ending}")]
    words = ("--model", "denoise-tiny-16k", "--reference", "ref", "--metrics", "si_sdr")
    done = run_command("denoise", "in", "-o", "out", *words, *reports)
    assert done.exit_code == 0, done.output
    for entry in json.loads(Path("r.json").read_text())["files"]:
        assert (entry["status"], entry["si_sdr"]) == ("done", None)
        assert entry["reasons"]["si_sdr"]
    with Path("r.csv").open(newline="") as file:
        assert [line["status"] for line in csv.DictReader(file)] == ["done", "done"]
    assert Path("r.md").read_text().count("| done |") == 2
    assert "of 2 failed" not in Path("r.html").read_text()


def test_a_resumed_report_keeps_what_the_earlier_one_knew(batch_folder: Path) -> None:
    words = ("denoise", "in", "-o", "out", "--model", "denoise-tiny-16k", "--report", "r.json")
    Path("in/broken.wav").write_bytes(Path("in/a.wav").read_bytes()[:-4000])
    assert run_command(*words).exit_code == 0
    first = json.loads(Path("r.json").read_text())["files"]
    assert "is truncated" in first[2]["notes"][0]
    write_speech(Path("in", "later.wav"), 0.5)
    for _ in range(2):
        assert run_command(*words, "--skip-existing", "--mix", "0.5").exit_code == 0
        again = json.loads(Path("r.json").read_text())["files"]
        assert again[:3] == [{**entry, "status": "skipped"} for entry in first]
        assert again[3]["settings"]["mix"] == 0.5
    # What was made since is not what the report describes.
    os.utime("out/a.wav", (2e9, 2e9))
    assert run_command(*words, "--skip-existing").exit_code == 0
    again = json.loads(Path("r.json").read_text())["files"]
    assert "checkpoint_sha256" not in again[0]
    assert "checkpoint_sha256" in again[1]


def test_a_resumed_report_keeps_what_is_known_however_paths_are_spelled(
    batch_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("in/broken.wav").unlink()
    words = ("--model", "denoise-tiny-16k", "--report", "r.json", "--reference")
    assert run_command("denoise", "in", "-o", "out", *words, "in", "--mix", "0.5").exit_code == 0
    first = json.loads(Path("r.json").read_text())["files"]
    link = batch_folder / "link"
    link.symlink_to(batch_folder)
    for here in (batch_folder, link, Path("link")):
        again = (str(here / "in"), "-o", str(here / "out"), *words, str(here / "in"), "--skip-existing")
        assert run_command("denoise", *again).exit_code == 0
        rows = json.loads(Path("r.json").read_text())["files"]
        assert [row["settings"] for row in rows] == [row["settings"] for row in first]
        assert rows[0]["output"] == str(here / "out" / "a.wav")

    def interrupted(job: Job, *_: Any) -> Outcome:
        raise KeyboardInterrupt

    monkeypatch.setattr(batch_run, "score_skipped", interrupted)
    assert run_command("denoise", "in", "-o", "out", *words, "in", "--skip-existing").exit_code == 130
    assert json.loads(Path("r.json").read_text())["files"] == rows


def test_scores_of_a_resumed_report_and_their_notes_are_of_the_present_references(batch_folder: Path) -> None:
    for path in ("in/broken.wav", "in/b & c.wav"):
        Path(path).unlink()
    Path("in/a.wav").write_bytes(Path("in/a.wav").read_bytes()[:-2000])
    write_speech(Path("of 8 kHz/a.wav"), 0.5, 8000)
    soundfile.write(write_speech(Path("silent/a.wav"), 0.5), np.zeros(8000), 16000)
    words = ("denoise", "in", "-o", "out", "--model", "denoise-tiny-16k", "--report", "r.json")

    def scored(*more: str) -> dict[str, Any]:
        done = run_command(*words, *more)
        assert done.exit_code == 0, done.output
        [row] = json.loads(Path("r.json").read_text())["files"]
        return dict(row)

    first = scored("--reference", "of 8 kHz", "--metrics", "si_sdr")
    [*of_scoring, of_output] = first["notes"]
    assert "resampled from 16000 to 8000 Hz" in of_scoring[0]
    assert first["run_notes"] == of_scoring
    assert "is truncated" in of_output
    second = scored("--skip-existing", "--reference", "silent", "--metrics", "si_sdr")
    assert second["reference"] == str(Path("silent", "a.wav"))
    assert (second["si_sdr"], "silent" in second["reasons"]["si_sdr"]) == (None, True)
    assert [note for note in second["notes"] if note not in second["run_notes"]] == [of_output]
    assert not [note for note in second["notes"] if "resampled" in note]
    unscored = scored("--skip-existing")
    assert unscored["notes"] == [of_output]
    assert not {"si_sdr", "run_notes", "reference", "reference_sample_rate"} & unscored.keys()


@pytest.mark.skipif(sys.platform != "linux", reason="names are text there")
def test_a_resumed_report_keeps_what_is_known_of_names_in_another_encoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (b"m\xfcller.wav", b"z\xfc.wav"):
        cut = write_speech(Path("in/a.wav"), 0.5).read_bytes()[:-4000]
        Path("in/a.wav").rename(Path("in", os.fsdecode(name)))
        Path("in", os.fsdecode(name)).write_bytes(cut)
    words = ("denoise", "in", "-o", "out", "--model", "denoise-tiny-16k", "--report", "r.json")
    assert run_command(*words).exit_code == 0
    first = json.loads(Path("r.json").read_text())["files"]
    assert (first[0]["file"], len(first[0]["notes"])) == (r"m\xfcller.wav", 1)
    expected = [{**entry, "status": "skipped"} for entry in first]
    assert run_command(*words, "--skip-existing").exit_code == 0
    assert json.loads(Path("r.json").read_text())["files"] == expected

    def interrupted(job: Job, *_: Any) -> Outcome:
        raise KeyboardInterrupt

    monkeypatch.setattr(batch_run, "score_skipped", interrupted)
    assert run_command(*words, "--skip-existing", "--reference", "in", "--metrics", "si_sdr").exit_code == 130
    assert json.loads(Path("r.json").read_text())["files"] == expected


@pytest.mark.parametrize(
    ("policy", "work", "model"),
    [
        ("--skip-existing", "score_skipped", "denoise-tiny-16k"),
        ("--overwrite", "do", "denoise-large-16k"),
    ],
)
def test_an_interrupted_batch_keeps_what_the_earlier_report_knew_of_the_rest(
    batch_folder: Path, monkeypatch: pytest.MonkeyPatch, policy: str, work: str, model: str
) -> None:
    Path("in/broken.wav").unlink()
    scored = ("--reference", "in", "--metrics", "si_sdr")
    words = ("denoise", "in", "-o", "out", *scored, "--report", "r.json", "--report", "s.json")
    assert run_command(*words, "--model", "denoise-tiny-16k").exit_code == 0
    first, second = json.loads(Path("r.json").read_text())["files"]
    action = getattr(batch_run, work)

    def interrupted(job: Job, *others: Any) -> Outcome:
        if job.name == second["file"]:
            raise KeyboardInterrupt
        return action(job, *others)

    with monkeypatch.context() as patches:
        patches.setattr(batch_run, work, interrupted)
        assert run_command(*words, "--model", model, policy).exit_code == 130
    for report in ("r.json", "s.json"):
        reached, kept = json.loads(Path(report).read_text())["files"]
        assert (reached["file"], reached["model"]) == (first["file"], model)
        assert kept == {**second, "status": "skipped"}
    assert run_command(*words, "--model", model, "--skip-existing").exit_code == 0
    assert json.loads(Path("r.json").read_text())["files"][1] == {**second, "status": "skipped"}


@pytest.mark.parametrize("finished", [0, 1])
def test_a_batch_that_fails_reports_what_was_finished(
    batch_folder: Path, monkeypatch: pytest.MonkeyPatch, finished: int
) -> None:
    count = 0

    def failing(*arguments: Any) -> Outcome:
        nonlocal count
        count += 1
        if count > finished:
            raise AudiotoolError("worker processes die as they start")
        return do(*arguments)

    monkeypatch.setattr(batch_run, "do", failing)
    done = run_command("denoise", "in", "-o", "out", "--model", "denoise-tiny-16k", "--report", "r.json")
    assert done.exit_code == 1
    lines = done.stderr.splitlines()
    assert lines[-1] == "audiotool: error: worker processes die as they start"
    went_on = "audiotool: 1 of 3 files are finished; the same command with --skip-existing does the rest"
    assert (went_on in lines, Path("r.json").exists()) == (bool(finished), bool(finished))
    if finished:
        [row] = json.loads(Path("r.json").read_text())["files"]
        assert (row["file"], row["status"]) == ("a.wav", "done")


@pytest.mark.parametrize("is_interrupted", [False, True])
def test_a_report_that_cannot_be_written_costs_no_other_result(
    batch_folder: Path, monkeypatch: pytest.MonkeyPatch, is_interrupted: bool
) -> None:
    def interrupted(job: Job, *others: Any) -> Outcome:
        if is_interrupted and job.name == "broken.wav":
            raise KeyboardInterrupt
        return do(job, *others)

    monkeypatch.setattr(batch_run, "do", interrupted)
    words = ("denoise", "in", "-o", "out", "--model", "denoise-tiny-16k", "--json")
    with largest_file(20_000):
        done = run_command(*words, "--report", "r.html", "--report", "r.csv")
    assert [done.exit_code, *sorted(os.listdir("out"))] == [
        130 if is_interrupted else 1,
        "a.wav",
        "b & c.wav",
    ]
    with Path("r.csv").open(newline="") as file:
        assert [line["file"] for line in csv.DictReader(file)][:2] == ["a.wav", "b & c.wav"]
    *_, before, last = done.stderr.splitlines()
    if is_interrupted:
        assert last == "audiotool: interrupted"
        assert "audiotool: error: cannot write r.html" in done.stderr
    else:
        assert [row["file"] for row in json.loads(done.stdout)["files"]] == [
            "a.wav",
            "b & c.wav",
            "broken.wav",
        ]
        assert before.startswith("audiotool: 1 of 3 files failed")
        assert last.startswith("audiotool: error: cannot write r.html: ")


@pytest.mark.parametrize("command", ["denoise", "evaluate"])
@pytest.mark.parametrize("names", ["SIGINT", "SIGTERM", "SIGINT SIGTERM"])
def test_requests_to_end_while_the_reports_are_written_cost_none(
    batch_folder: Path, monkeypatch: pytest.MonkeyPatch, command: str, names: str
) -> None:
    left = iter([signal.Signals[name] for name in names.split()])

    def asked(report: Report) -> str:
        for number in itertools.islice(left, 1):
            signal.raise_signal(number)
        return to_json(report)

    words = {
        "denoise": ("denoise", "in", "-o", "out", "--model", "denoise-tiny-16k", "--skip-existing"),
        "evaluate": ("evaluate", "--reference", "in", "--estimate", "in", "--metrics", "si_sdr"),
    }
    monkeypatch.setitem(TEXTS, ".json", asked)
    monkeypatch.setattr(signals, "TOGETHER_SECONDS", 0.0)
    signals.unwind_on_request()
    done = run_command(*words[command], "--report", "r.json", "--report", "r.md")
    assert done.exit_code == (143 if "SIGTERM" in names else 130), done.output
    assert len(json.loads(Path("r.json").read_text())["files"]) == 3
    assert Path("r.md").exists()
    assert "3 of 3 files are" in done.stderr
    assert "does the rest" not in done.stderr, "nothing is left to do"


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt(), 130), (SystemExit(143), 143), (AudiotoolError("broken"), 1)]
)
@pytest.mark.parametrize(
    ("place", "calls", "scored", "drawn"),
    [
        ("audiotool.metrics.score_many.score_stems", 2, ["a", "b & c"], []),
        ("audiotool.report.gallery.make_media", 1, ["a", "b & c", "broken"], ["a"]),
    ],
    ids=["scoring", "drawing"],
)
def test_interrupted_scoring_reports_what_was_scored(
    batch_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    calls: int,
    scored: list[str],
    drawn: list[str],
    error: BaseException,
    code: int,
) -> None:
    write_speech(Path("in/broken.wav"), 0.5)
    action, left = pkgutil.resolve_name(place), iter(range(calls))

    def stopped(*arguments: Any) -> Any:
        if next(left, None) is None:
            raise error
        return action(*arguments)

    monkeypatch.setattr(place, stopped)
    words = ("--reference", "in", "--estimate", "in", "--metrics", "si_sdr", "--fail-under", "si_sdr=200")
    done = run_command("evaluate", *words, "--report", "r.json", "--report", "r.html")
    assert done.exit_code == code
    assert f"audiotool: {len(scored)} of 3 files are scored" in done.stderr.splitlines()
    report = json.loads(Path("r.json").read_text())
    for rows in (report["files"], report["failures"]):
        assert [row["file"] for row in rows] == scored
    assert ["clips" in row for row in blocks("r.html")] == [name in drawn for name in scored]
