"""Reports from the command line: several at once, a page, and a page made later."""

from __future__ import annotations

import csv
import itertools
import json
import os
import pkgutil
import re
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
from typer.testing import Result

from audiotool import signals
from audiotool.batch import run as batch_run
from audiotool.batch.job import Job
from audiotool.batch.work import Outcome, do
from audiotool.errors import AudiotoolError
from audiotool.metrics.rows import Row
from audiotool.report.json_document import to_json
from audiotool.report.report import Report
from audiotool.report.write import TEXTS, write_reports


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a batch of two files and a broken one has run, with every report."""
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b & c"):
        write_speech(Path("in", f"{name}.wav"), 0.5)
    Path("in", "broken.wav").write_bytes(b"RIFF")
    return tmp_path


def run(*words: str) -> Result:
    return run_command(*words)


def blocks(page: str) -> list[Any]:
    """The data of a page's rows."""
    found = re.findall(r'<script type="application/json" id="m\d+">(.*?)</script>', Path(page).read_text())
    return [json.loads(text) for text in found]


def test_every_format_at_once_and_a_page_later(folder: Path) -> None:
    formats = [word for ending in ("html", "json", "csv", "md") for word in ("--report", f"r.{ending}")]
    done = run("denoise", "in", "-o", "out", "--jobs", "2", *formats)
    assert done.exit_code == 1
    page = Path("r.html").read_text()
    first, second, broken = blocks("r.html")
    for row in (first, second):
        assert [clip["role"] for clip in row["clips"]] == ["input", "output", "removed"]
        assert row["clips"][0]["sum"], "the page adds the two others up to the input"
        assert all(clip["sound"].startswith("data:audio/ogg") for clip in row["clips"][1:])
    assert "clips" not in broken
    for word in ("denoise-16k", "SHA-256", "MIT", "1 of 3 failed", "b &amp; c.wav"):
        assert word in page
    entries = {entry["file"]: entry for entry in json.loads(Path("r.json").read_text())["files"]}
    assert entries["a.wav"]["sample_rate"] == 16000
    assert entries["broken.wav"]["status"] == "failed"
    assert Path("r.csv").read_text().startswith("file,")
    assert "| a.wav | done |" in Path("r.md").read_text()
    done = run(
        "report", "show", "r.json", "-o", "pages/later.html", "-o", "again.json", "--report-audio", "link"
    )
    assert done.exit_code == 0, done.output
    later = blocks("pages/later.html")
    assert [clip["sound"] for clip in later[1]["clips"]] == [
        *("../in/b%20%26%20c.wav", "../out/b%20%26%20c.wav", None)
    ]
    assert [clip["picture"] for clip in later[0]["clips"]] == [clip["picture"] for clip in first["clips"]]
    assert (
        json.loads(Path("again.json").read_text())["files"] == json.loads(Path("r.json").read_text())["files"]
    )


@pytest.fixture
def batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two batches that ran each in its own folder, with recordings of the same paths and other lengths."""
    for name, seconds in (("one", 0.5), ("two", 0.9)):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        for path in ("in/t.wav", "out/t.wav"):
            write_speech(Path(path), seconds)
        facts = {"status": "done", "input": "in/t.wav", "output": "out/t.wav"}
        write_reports([Path("r.json"), Path("r.csv")], Report([Row("t.wav", facts=facts)]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def clips(page: str) -> list[list[tuple[str, float]]]:
    return [
        [(clip["path"], clip["seconds"]) for clip in row["clips"] if clip["path"]] for row in blocks(page)
    ]


@pytest.mark.parametrize("ending", ["json", "csv"])
def test_each_row_has_the_recordings_of_its_own_report(
    batches: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    merge = ("report", "merge", f"one/r.{ending}", f"two/r.{ending}", "--report-audio", "link")
    result = run(*merge, "-o", "both.html", "-o", "both.json")
    assert result.exit_code == 0, result.output
    assert "not there" not in result.stderr
    expected = [
        [(f"{name}/{path}/t.wav", seconds) for path in ("in", "out")]
        for name, seconds in (("one", 0.5), ("two", 0.9))
    ]
    assert clips("both.html") == expected
    assert run("report", "show", "both.json", "-o", "again.html").exit_code == 0
    assert clips("again.html") == expected
    monkeypatch.chdir("two")
    assert run("report", "show", f"../one/r.{ending}", "-o", "../one/page.html").exit_code == 0
    assert clips("../one/page.html") == [[("../one/in/t.wav", 0.5), ("../one/out/t.wav", 0.5)]]


def test_recordings_that_are_gone_are_named_once(batches: Path) -> None:
    for name in ("in/t.wav", "out/t.wav"):
        write_speech(Path(name), 0.1)  # those of a third batch, which are not shown in their place
    os.remove("one/out/t.wav")
    merge = ("report", "merge", "one/r.json", "two/r.json")
    result = run(*merge, "-o", "both.html")
    assert result.stderr.count("not there, and not in the page: one/out/t.wav\n") == 1
    assert [len(row) for row in clips("both.html")] == [1, 2]
    assert "not there" not in run(*merge, "-o", "both.json").stderr


def test_where_a_page_has_its_sound_does_not_depend_on_the_current_folder(
    batches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audiotool.report.gallery.EMBEDDED_BYTES", 10_000)  # 0.56 s of one channel
    for folder, source in (("two", "r.json"), (".", "two/r.json"), ("one", "../two/r.json")):
        monkeypatch.chdir(batches / folder)
        assert run("report", "show", source, "-o", "page.html").exit_code == 0
        [row] = blocks("page.html")
        assert all("base64" not in clip["sound"] for clip in row["clips"] if clip["path"])


def test_a_page_that_takes_long_says_how_far_it_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [Row(f"{n}", facts={"input": "in/a.wav"}) for n in range(3)]
    write_reports([Path("r.json")], Report(rows))
    show = ("report", "show", "r.json", "-o", "r.html")
    assert "pictures" not in run(*show).stderr
    monkeypatch.setattr("audiotool.cli.report.LINE_SECONDS", 0.0)
    assert "audiotool: pictures of 2 of 3 rows are drawn\n" in run(*show).stderr
    assert run(*show, "--quiet").stderr == ""


def test_evaluate_makes_a_page_too(folder: Path) -> None:
    places = ("--reference", "in/a.wav", "--estimate", "in/a.wav", "--noisy", "in/a.wav")
    done = run("evaluate", *places, "--metrics", "si_sdr", "--report", "page.html", "--report-audio", "none")
    assert done.exit_code == 0, done.output
    [row] = blocks("page.html")
    assert [clip["role"] for clip in row["clips"]] == ["input", "output", "removed", "reference"]


@pytest.mark.parametrize(
    ("words", "message", "code"),
    [
        (("missing.json", "-o", "page.html"), "missing.json is no report: No such file or directory", 1),
        (("in/broken.wav", "-o", "page.html"), "is no report", 1),
        (("empty.json", "-o", "page.txt"), "a report ends in", 2),
        (("empty.json", "-o", "in/broken.wav/page.html"), "is not a folder", 2),
    ],
)
def test_mistakes_are_one_line(folder: Path, words: tuple[str, ...], message: str, code: int) -> None:
    Path("empty.json").write_text('{"files": [], "summary": {}}')
    done = run("report", "show", *words)
    assert done.exit_code == code
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not Path("page.html").exists()


def test_a_report_replaces_earlier_reports_alone(folder: Path) -> None:
    words = ("denoise", "in/a.wav", "-o", "out.wav", "--model", "denoise-tiny-16k")
    Path("notes.md").write_text("# Notes\n")
    Path("list.csv").write_text("input\nin/a.wav\n")
    Path("other name.csv").hardlink_to("list.csv")
    refused = run(*words, "--report", "r.json", "--report", "notes.md")
    assert (refused.exit_code, "notes.md exists, and is no report" in refused.stderr) == (2, True)
    listed = ("denoise", "--list", "list.csv", "-o", "out/", "--model", "denoise-tiny-16k", "--overwrite")
    for name in ("list.csv", "other name.csv"):
        refused = run(*listed, "--report", name)
        message = f"{name} is read or written by this command already"
        assert (refused.exit_code, message in refused.stderr) == (2, True)
    assert sorted(os.listdir()) == ["in", "list.csv", "notes.md", "other name.csv"]
    assert Path("notes.md").read_text() == "# Notes\n"
    assert run(*words, "--report", "r.json", "--report", "r.md").exit_code == 0
    again = run(*words, "--skip-existing", "--report", "r.json", "--report", "r.md")
    assert again.exit_code == 0, again.output
    assert json.loads(Path("r.json").read_text())["files"][0]["status"] == "skipped"
    assert run(*words, "--overwrite", "--report", "notes.md").exit_code == 0
    assert Path("notes.md").read_text().startswith("# audiotool report")


def test_a_file_that_was_written_is_done_though_it_could_not_be_scored(folder: Path) -> None:
    Path("in/broken.wav").unlink()
    write_speech(Path("ref/a.wav"), 0.5, channels=2)
    Path("ref/b & c.wav").write_bytes(b"")
    reports = [word for ending in ("json", "csv", "md", "html") for word in ("--report", f"r.{ending}")]
    words = ("--model", "denoise-tiny-16k", "--reference", "ref", "--metrics", "si_sdr")
    done = run("denoise", "in", "-o", "out", *words, *reports)
    assert done.exit_code == 0, done.output
    for entry in json.loads(Path("r.json").read_text())["files"]:
        assert (entry["status"], entry["si_sdr"]) == ("done", None)
        assert entry["reasons"]["si_sdr"]
    with Path("r.csv").open(newline="") as file:
        assert [line["status"] for line in csv.DictReader(file)] == ["done", "done"]
    assert Path("r.md").read_text().count("| done |") == 2
    assert "of 2 failed" not in Path("r.html").read_text()


def test_a_resumed_report_keeps_what_the_earlier_one_knew(folder: Path) -> None:
    words = ("denoise", "in", "-o", "out", "--model", "denoise-tiny-16k", "--report", "r.json")
    Path("in/broken.wav").write_bytes(Path("in/a.wav").read_bytes()[:-4000])
    assert run(*words).exit_code == 0
    first = json.loads(Path("r.json").read_text())["files"]
    assert "is truncated" in first[2]["notes"][0]
    write_speech(Path("in", "later.wav"), 0.5)
    for _ in range(2):
        assert run(*words, "--skip-existing", "--mix", "0.5").exit_code == 0
        again = json.loads(Path("r.json").read_text())["files"]
        assert again[:3] == [{**entry, "status": "skipped"} for entry in first]
        assert again[3]["settings"]["mix"] == 0.5
    # What was made since is not what the report describes.
    os.utime("out/a.wav", (2e9, 2e9))
    assert run(*words, "--skip-existing").exit_code == 0
    again = json.loads(Path("r.json").read_text())["files"]
    assert "checkpoint_sha256" not in again[0]
    assert "checkpoint_sha256" in again[1]


def test_a_resumed_report_keeps_what_is_known_however_paths_are_spelled(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("in/broken.wav").unlink()
    words = ("--model", "denoise-tiny-16k", "--report", "r.json", "--reference")
    assert run("denoise", "in", "-o", "out", *words, "in", "--mix", "0.5").exit_code == 0
    first = json.loads(Path("r.json").read_text())["files"]
    link = folder / "link"
    link.symlink_to(folder)
    for here in (folder, link, Path("link")):
        again = (str(here / "in"), "-o", str(here / "out"), *words, str(here / "in"), "--skip-existing")
        assert run("denoise", *again).exit_code == 0
        rows = json.loads(Path("r.json").read_text())["files"]
        assert [row["settings"] for row in rows] == [row["settings"] for row in first]
        assert rows[0]["output"] == str(here / "out" / "a.wav")

    def interrupted(job: Job, *_: Any) -> Outcome:
        raise KeyboardInterrupt

    monkeypatch.setattr(batch_run, "score_skipped", interrupted)
    assert run("denoise", "in", "-o", "out", *words, "in", "--skip-existing").exit_code == 130
    assert json.loads(Path("r.json").read_text())["files"] == rows


def test_scores_of_a_resumed_report_and_their_notes_are_of_the_present_references(folder: Path) -> None:
    for path in ("in/broken.wav", "in/b & c.wav"):
        Path(path).unlink()
    Path("in/a.wav").write_bytes(Path("in/a.wav").read_bytes()[:-2000])
    write_speech(Path("of 8 kHz/a.wav"), 0.5, 8000)
    soundfile.write(write_speech(Path("silent/a.wav"), 0.5), np.zeros(8000), 16000)
    words = ("denoise", "in", "-o", "out", "--model", "denoise-tiny-16k", "--report", "r.json")

    def scored(*more: str) -> dict[str, Any]:
        done = run(*words, *more)
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
    assert run(*words).exit_code == 0
    first = json.loads(Path("r.json").read_text())["files"]
    assert (first[0]["file"], len(first[0]["notes"])) == (r"m\xfcller.wav", 1)
    expected = [{**entry, "status": "skipped"} for entry in first]
    assert run(*words, "--skip-existing").exit_code == 0
    assert json.loads(Path("r.json").read_text())["files"] == expected

    def interrupted(job: Job, *_: Any) -> Outcome:
        raise KeyboardInterrupt

    monkeypatch.setattr(batch_run, "score_skipped", interrupted)
    assert run(*words, "--skip-existing", "--reference", "in", "--metrics", "si_sdr").exit_code == 130
    assert json.loads(Path("r.json").read_text())["files"] == expected


@pytest.mark.parametrize(
    ("policy", "work", "model"),
    [
        ("--skip-existing", "score_skipped", "denoise-tiny-16k"),
        ("--overwrite", "do", "denoise-large-16k"),
    ],
)
def test_an_interrupted_batch_keeps_what_the_earlier_report_knew_of_the_rest(
    folder: Path, monkeypatch: pytest.MonkeyPatch, policy: str, work: str, model: str
) -> None:
    Path("in/broken.wav").unlink()
    scored = ("--reference", "in", "--metrics", "si_sdr")
    words = ("denoise", "in", "-o", "out", *scored, "--report", "r.json", "--report", "s.json")
    assert run(*words, "--model", "denoise-tiny-16k").exit_code == 0
    first, second = json.loads(Path("r.json").read_text())["files"]
    action = getattr(batch_run, work)

    def interrupted(job: Job, *others: Any) -> Outcome:
        if job.name == second["file"]:
            raise KeyboardInterrupt
        return action(job, *others)

    with monkeypatch.context() as patches:
        patches.setattr(batch_run, work, interrupted)
        assert run(*words, "--model", model, policy).exit_code == 130
    for report in ("r.json", "s.json"):
        reached, kept = json.loads(Path(report).read_text())["files"]
        assert (reached["file"], reached["model"]) == (first["file"], model)
        assert kept == {**second, "status": "skipped"}
    assert run(*words, "--model", model, "--skip-existing").exit_code == 0
    assert json.loads(Path("r.json").read_text())["files"][1] == {**second, "status": "skipped"}


@pytest.mark.parametrize("finished", [0, 1])
def test_a_batch_that_fails_reports_what_was_finished(
    folder: Path, monkeypatch: pytest.MonkeyPatch, finished: int
) -> None:
    count = 0

    def failing(*arguments: Any) -> Outcome:
        nonlocal count
        count += 1
        if count > finished:
            raise AudiotoolError("worker processes die as they start")
        return do(*arguments)

    monkeypatch.setattr(batch_run, "do", failing)
    done = run("denoise", "in", "-o", "out", "--model", "denoise-tiny-16k", "--report", "r.json")
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
    folder: Path, monkeypatch: pytest.MonkeyPatch, is_interrupted: bool
) -> None:
    def interrupted(job: Job, *others: Any) -> Outcome:
        if is_interrupted and job.name == "broken.wav":
            raise KeyboardInterrupt
        return do(job, *others)

    monkeypatch.setattr(batch_run, "do", interrupted)
    words = ("denoise", "in", "-o", "out", "--model", "denoise-tiny-16k", "--json")
    with largest_file(20_000):
        done = run(*words, "--report", "r.html", "--report", "r.csv")
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
    folder: Path, monkeypatch: pytest.MonkeyPatch, command: str, names: str
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
    done = run(*words[command], "--report", "r.json", "--report", "r.md")
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
    folder: Path,
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
    done = run("evaluate", *words, "--report", "r.json", "--report", "r.html")
    assert done.exit_code == code
    assert f"audiotool: {len(scored)} of 3 files are scored" in done.stderr.splitlines()
    report = json.loads(Path("r.json").read_text())
    for rows in (report["files"], report["failures"]):
        assert [row["file"] for row in rows] == scored
    assert ["clips" in row for row in blocks("r.html")] == [name in drawn for name in scored]


def test_shown_and_merged_reports_replace_earlier_reports_alone(folder: Path) -> None:
    for name in ("a.json", "b.json"):
        write_reports([Path(name)], Report([Row(name)]))
    Path("index.html").write_text("<p>mine</p>")
    for words in (("report", "show", "a.json"), ("report", "merge", "a.json", "b.json")):
        refused = run(*words, "-o", "index.html")
        assert (refused.exit_code, "index.html exists, and is no report" in refused.stderr) == (2, True)
        refused = run(*words, "-o", "a.json", "--overwrite")
        assert (refused.exit_code, "a.json is read or written" in refused.stderr) == (2, True)
        assert Path("index.html").read_text() == "<p>mine</p>"
    for output, *more in (("new.html",), ("new.html",), ("index.html", "--overwrite")):
        done = run("report", "show", "a.json", "-o", output, *more)
        assert done.exit_code == 0, done.output


def test_scores_replace_earlier_reports_alone(folder: Path) -> None:
    Path("list.csv").write_text("output,reference,input\nin/a.wav,in/a.wav,in/a.wav\n")
    Path("cover.png").write_bytes(b"mine")
    words = ("evaluate", "--list", "list.csv", "--metrics", "si_sdr")
    for option, name, more in (
        ("--report", "list.csv", "is read or written"),
        ("--plot", "cover.png", "cover.png exists"),
    ):
        refused = run(*words, option, name)
        assert (refused.exit_code, more in refused.stderr) == (2, True)
    refused = run(*words, "--report", "list.csv", "--overwrite")
    assert (refused.exit_code, "is read or written" in refused.stderr) == (2, True)
    assert Path("list.csv").read_text().startswith("output,")
    assert Path("cover.png").read_bytes() == b"mine"
    for _ in range(2):
        assert run(*words, "--report", "r.csv").exit_code == 0


def test_a_report_of_no_files_has_a_page(folder: Path) -> None:
    Path("empty.json").write_text('{"files": [], "summary": {}}')
    done = run("report", "show", "empty.json", "-o", "page.html", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["output"] == ["page.html"]
    assert "No files." in Path("page.html").read_text()


def test_a_share_without_files_is_a_report_of_none(folder: Path) -> None:
    formats = [word for ending in ("html", "json", "csv", "md") for word in ("--report", f"r.{ending}")]
    done = run("denoise", "in", "-o", "out", "--shard", "9/9", *formats)
    assert done.exit_code == 0, done.output
    assert "0 files done" in done.output
    assert "No files." in Path("r-0009-of-0009.html").read_text()
    document = json.loads(Path("r-0009-of-0009.json").read_text())
    assert (document["files"], document["run"]["shard"]) == ([], "9/9")
    again = run("report", "merge", "r-0009-of-0009.csv", "-o", "all.html", "-o", "all.md")
    # The reports of the other shares are not there.
    assert (again.exit_code, "r-0003-of-0009.csv" in again.stderr) == (1, True), again.output
    assert "No files." in Path("all.html").read_text()
