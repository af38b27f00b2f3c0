"""Reports from the command line: several at once, a page, and a page made later."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from kit.audio import write_speech
from kit.command import run_command
from kit.pages import blocks

from audiotool.metrics.rows import Row
from audiotool.report.report import Report
from audiotool.report.write import write_reports


def test_every_format_at_once_and_a_page_later(batch_folder: Path) -> None:
    formats = [word for ending in ("html", "json", "csv", "md") for word in ("--report", f"r.{ending}")]
    done = run_command("denoise", "in", "-o", "out", "--jobs", "2", *formats)
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
    done = run_command(
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
    result = run_command(*merge, "-o", "both.html", "-o", "both.json")
    assert result.exit_code == 0, result.output
    assert "not there" not in result.stderr
    expected = [
        [(f"{name}/{path}/t.wav", seconds) for path in ("in", "out")]
        for name, seconds in (("one", 0.5), ("two", 0.9))
    ]
    assert clips("both.html") == expected
    assert run_command("report", "show", "both.json", "-o", "again.html").exit_code == 0
    assert clips("again.html") == expected
    monkeypatch.chdir("two")
    assert run_command("report", "show", f"../one/r.{ending}", "-o", "../one/page.html").exit_code == 0
    assert clips("../one/page.html") == [[("../one/in/t.wav", 0.5), ("../one/out/t.wav", 0.5)]]


def test_recordings_that_are_gone_are_named_once(batches: Path) -> None:
    for name in ("in/t.wav", "out/t.wav"):
        write_speech(Path(name), 0.1)  # those of a third batch, which are not shown in their place
    os.remove("one/out/t.wav")
    merge = ("report", "merge", "one/r.json", "two/r.json")
    result = run_command(*merge, "-o", "both.html")
    assert result.stderr.count("not there, and not in the page: one/out/t.wav\n") == 1
    assert [len(row) for row in clips("both.html")] == [1, 2]
    assert "not there" not in run_command(*merge, "-o", "both.json").stderr


def test_where_a_page_has_its_sound_does_not_depend_on_the_current_folder(
    batches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audiotool.report.gallery.EMBEDDED_BYTES", 10_000)  # 0.56 s of one channel
    for folder, source in (("two", "r.json"), (".", "two/r.json"), ("one", "../two/r.json")):
        monkeypatch.chdir(batches / folder)
        assert run_command("report", "show", source, "-o", "page.html").exit_code == 0
        [row] = blocks("page.html")
        assert all("base64" not in clip["sound"] for clip in row["clips"] if clip["path"])


def test_a_page_that_takes_long_says_how_far_it_is(
    batch_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [Row(f"{n}", facts={"input": "in/a.wav"}) for n in range(3)]
    write_reports([Path("r.json")], Report(rows))
    show = ("report", "show", "r.json", "-o", "r.html")
    assert "pictures" not in run_command(*show).stderr
    monkeypatch.setattr("audiotool.cli.report_making.LINE_SECONDS", 0.0)
    assert "audiotool: pictures of 2 of 3 rows are drawn\n" in run_command(*show).stderr
    assert run_command(*show, "--quiet").stderr == ""


def test_evaluate_makes_a_page_too(batch_folder: Path) -> None:
    places = ("--reference", "in/a.wav", "--estimate", "in/a.wav", "--noisy", "in/a.wav")
    done = run_command(
        "evaluate", *places, "--metrics", "si_sdr", "--report", "page.html", "--report-audio", "none"
    )
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
def test_mistakes_are_one_line(batch_folder: Path, words: tuple[str, ...], message: str, code: int) -> None:
    Path("empty.json").write_text('{"files": [], "summary": {}}')
    done = run_command("report", "show", *words)
    assert done.exit_code == code
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not Path("page.html").exists()


def test_a_report_replaces_earlier_reports_alone(batch_folder: Path) -> None:
    words = ("denoise", "in/a.wav", "-o", "out.wav", "--model", "denoise-tiny-16k")
    Path("notes.md").write_text("# Notes\n")
    Path("list.csv").write_text("input\nin/a.wav\n")
    Path("other name.csv").hardlink_to("list.csv")
    refused = run_command(*words, "--report", "r.json", "--report", "notes.md")
    assert (refused.exit_code, "notes.md exists, and is no report" in refused.stderr) == (2, True)
    listed = ("denoise", "--list", "list.csv", "-o", "out/", "--model", "denoise-tiny-16k", "--overwrite")
    for name in ("list.csv", "other name.csv"):
        refused = run_command(*listed, "--report", name)
        message = f"{name} is read or written by this command already"
        assert (refused.exit_code, message in refused.stderr) == (2, True)
    assert sorted(os.listdir()) == ["in", "list.csv", "notes.md", "other name.csv"]
    assert Path("notes.md").read_text() == "# Notes\n"
    assert run_command(*words, "--report", "r.json", "--report", "r.md").exit_code == 0
    again = run_command(*words, "--skip-existing", "--report", "r.json", "--report", "r.md")
    assert again.exit_code == 0, again.output
    assert json.loads(Path("r.json").read_text())["files"][0]["status"] == "skipped"
    assert run_command(*words, "--overwrite", "--report", "notes.md").exit_code == 0
    assert Path("notes.md").read_text().startswith("# audiotool report")


def test_shown_and_merged_reports_replace_earlier_reports_alone(batch_folder: Path) -> None:
    for name in ("a.json", "b.json"):
        write_reports([Path(name)], Report([Row(name)]))
    Path("index.html").write_text("<p>mine</p>")
    for words in (("report", "show", "a.json"), ("report", "merge", "a.json", "b.json")):
        refused = run_command(*words, "-o", "index.html")
        assert (refused.exit_code, "index.html exists, and is no report" in refused.stderr) == (2, True)
        refused = run_command(*words, "-o", "a.json", "--overwrite")
        assert (refused.exit_code, "a.json is read or written" in refused.stderr) == (2, True)
        assert Path("index.html").read_text() == "<p>mine</p>"
    for output, *more in (("new.html",), ("new.html",), ("index.html", "--overwrite")):
        done = run_command("report", "show", "a.json", "-o", output, *more)
        assert done.exit_code == 0, done.output


def test_scores_replace_earlier_reports_alone(batch_folder: Path) -> None:
    Path("list.csv").write_text("output,reference,input\nin/a.wav,in/a.wav,in/a.wav\n")
    Path("cover.png").write_bytes(b"mine")
    words = ("evaluate", "--list", "list.csv", "--metrics", "si_sdr")
    for option, name, more in (
        ("--report", "list.csv", "is read or written"),
        ("--plot", "cover.png", "cover.png exists"),
    ):
        refused = run_command(*words, option, name)
        assert (refused.exit_code, more in refused.stderr) == (2, True)
    refused = run_command(*words, "--report", "list.csv", "--overwrite")
    assert (refused.exit_code, "is read or written" in refused.stderr) == (2, True)
    assert Path("list.csv").read_text().startswith("output,")
    assert Path("cover.png").read_bytes() == b"mine"
    for _ in range(2):
        assert run_command(*words, "--report", "r.csv").exit_code == 0


def test_a_report_of_no_files_has_a_page(batch_folder: Path) -> None:
    Path("empty.json").write_text('{"files": [], "summary": {}}')
    done = run_command("report", "show", "empty.json", "-o", "page.html", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["output"] == ["page.html"]
    assert "No files." in Path("page.html").read_text()


def test_a_share_without_files_is_a_report_of_none(batch_folder: Path) -> None:
    formats = [word for ending in ("html", "json", "csv", "md") for word in ("--report", f"r.{ending}")]
    done = run_command("denoise", "in", "-o", "out", "--shard", "9/9", *formats)
    assert done.exit_code == 0, done.output
    assert "0 files done" in done.output
    assert "No files." in Path("r-0009-of-0009.html").read_text()
    document = json.loads(Path("r-0009-of-0009.json").read_text())
    assert (document["files"], document["run"]["shard"]) == ([], "9/9")
    again = run_command("report", "merge", "r-0009-of-0009.csv", "-o", "all.html", "-o", "all.md")
    # The reports of the other shares are not there.
    assert (again.exit_code, "r-0003-of-0009.csv" in again.stderr) == (1, True), again.output
    assert "No files." in Path("all.html").read_text()
