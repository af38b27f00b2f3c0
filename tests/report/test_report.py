"""Reports say the same as table, JSON and CSV, and are complete or not there."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from kit.disk import largest_file

from audiotool import json_output
from audiotool.documents import MAX_BYTES
from audiotool.errors import InputError
from audiotool.metrics.rows import REFERENCE_RATE, Row, remarks, summary
from audiotool.metrics.values import Value
from audiotool.report import page_head
from audiotool.report.csv_table import read_csv, to_csv
from audiotool.report.json_document import read_json_report, to_json
from audiotool.report.markdown_table import to_markdown
from audiotool.report.report import Report, Run
from audiotool.report.scores import mixed_bands
from audiotool.report.write import FORMATS, PAGE, check_paths, is_report, write_reports


class FixedClock:
    """A `datetime` by which it is always the same time."""

    fromisoformat = datetime.fromisoformat

    def __init__(self, time: datetime) -> None:
        self._time = time

    def now(self) -> datetime:
        return self._time


@pytest.fixture
def rows() -> list[Row]:
    return [
        Row(
            "a",
            {"pesq": Value(2.5), "stoi": Value(0.9)},
            {"pesq": Value(1.5), "stoi": Value(0.8)},
            {"real_time_factor": 20.5},
        ),
        Row(
            "b, c",
            {"pesq": Value(3.5), "stoi": Value(None, "the reference is silent")},
            {"pesq": Value(2.0), "stoi": Value(None, "the reference is silent")},
            notes=["resampled"],
        ),
    ]


def test_summary_counts_nulls(rows: list[Row]) -> None:
    found = summary(rows)
    assert found["pesq"] == {"mean": 3.0, "scored": 2, "null": 0}
    assert found["stoi"] == {"mean": 0.9, "scored": 1, "null": 1}
    assert found["pesq_improvement"]["mean"] == pytest.approx(1.25)
    assert found["stoi_improvement"] == {"mean": pytest.approx(0.1), "scored": 1, "null": 1}
    assert summary([Row("a", {"pesq": Value(None, "x")})])["pesq"]["mean"] is None


def test_an_improvement_is_the_output_minus_the_input() -> None:
    """Whatever is better: below 0 where lower is, as docs/reference/json.md says."""
    row = Row("a", {"lsd": Value(0.5), "pesq": Value(2.5)}, {"lsd": Value(2.0), "pesq": Value(1.5)})
    columns = row.columns()
    assert (columns["lsd_improvement"].value, columns["pesq_improvement"].value) == (-1.5, 1.0)


def test_both_sides_of_means_in_markdown_are_over_the_same_files(rows: list[Row]) -> None:
    rows[1].values["pesq"] = Value(None, "the estimate is silent")
    rows[1].baseline["stoi"] = Value(0.2)
    text = to_markdown(Report(rows))
    assert "| **mean** |  | 1.500 → 2.500 (1 of 2) | 0.800 → 0.900 (1 of 2) |" in text


def test_a_mean_over_both_bands_has_a_remark_in_every_format(rows: list[Row], tmp_path: Path) -> None:
    for row, rate in zip(rows, (8000, 16000), strict=True):
        row.facts[REFERENCE_RATE] = rate
    places = [tmp_path / f"r.{ending}" for ending in ("json", "csv", "md", "html")]
    write_reports(places, Report(rows))
    said = "pesq: the mean is over narrow-band and wide-band numbers"
    for report in (read_json_report(places[0]), read_csv(places[1])):
        assert mixed_bands(report.rows).startswith(said)
    assert f"\n- {said}" in places[2].read_text()
    assert said in places[3].read_text()


def test_json(rows: list[Row], tmp_path: Path) -> None:
    write_reports([tmp_path / "new" / "r.json"], Report(rows))
    found = json.loads((tmp_path / "new" / "r.json").read_text())
    first, second = found["files"]
    assert first["file"] == "a"
    assert first["pesq"] == 2.5
    assert first["pesq_noisy"] == 1.5
    assert first["real_time_factor"] == 20.5
    assert second["stoi"] is None
    assert second["reasons"]["stoi"] == "the reference is silent"
    assert second["notes"] == ["resampled"]
    assert found["summary"]["pesq"]["mean"] == 3.0


def test_csv(rows: list[Row], tmp_path: Path) -> None:
    write_reports([tmp_path / "r.CSV"], Report(rows))
    text = (tmp_path / "r.CSV").read_text()
    assert text == to_csv(Report(rows))
    lines = list(csv.DictReader(text.splitlines()))
    assert [line["file"] for line in lines] == ["a", "b, c"], "no line is a mean"
    assert lines[0]["real_time_factor"] == "20.5"
    assert lines[0]["status"] == "done"
    assert lines[1]["stoi"] == ""
    assert "stoi: the reference is silent" in lines[1]["reasons"]


def test_csv_of_before_is_read(rows: list[Row], tmp_path: Path) -> None:
    """It ended in means and counts of nulls, and had no status where there was none."""
    lines = [
        "file,pesq,pesq_noisy,pesq_improvement,wer,seconds,reasons,notes",
        "mean,2.5,1.5,1,,0.5,wer: no words,",
        "null,3.5,,,7,0.5,pesq_noisy: silent; pesq_improvement: silent,resampled",
        "mean,3,1.5,1,7,,,",
        "null,0,1,1,1,,,",
    ]
    (tmp_path / "r.csv").write_text("\n".join(lines))
    found = read_csv(tmp_path / "r.csv").rows
    assert [row.name for row in found] == ["mean", "null"]
    assert [row.facts for row in found] == [{"seconds": 0.5}] * 2
    assert [row.values["wer"].value for row in found] == [None, 7.0]
    assert summary(found)["pesq"] == {"mean": 3.0, "scored": 2, "null": 0}
    write_reports([tmp_path / "new.csv"], Report(found))
    again = read_csv(tmp_path / "new.csv").rows
    assert [row.columns() for row in again] == [row.columns() for row in found], "files of such names stay"
    (tmp_path / "r.csv").write_text("file,reasons,notes\nmean,,\nnull,,\n")
    assert read_csv(tmp_path / "r.csv").rows == []


def test_remarks_group_metrics_by_reason(rows: list[Row]) -> None:
    rows[1].values["estoi"] = Value(None, "the reference is silent")
    assert remarks(rows) == [
        "b, c: no stoi, stoi_noisy, estoi: the reference is silent",
        "b, c: resampled",
    ]


def test_what_all_rows_lack_is_one_remark() -> None:
    absent = Value(None, "PLCMOS needs speechmos")
    rows = [Row(name, {"plcmos": absent, "snr": Value(1.0)}) for name in ("a", "b", "c")]
    rows[2].values["snr"] = Value(None, "silent")
    broken = Row("d", {"plcmos": Value(None, "d is no audio")}, failed=True)
    assert remarks([*rows, broken]) == [
        "all 3 files: no plcmos: PLCMOS needs speechmos",
        "c: no snr: silent",
        "d: no plcmos: d is no audio",
    ]
    assert remarks(rows[:1]) == ["a: no plcmos: PLCMOS needs speechmos"]


def test_a_note_of_all_rows_is_one_remark() -> None:
    rows = [Row(name, {"pesq": Value(2.0)}, notes=["narrow-band"]) for name in ("a", "b")]
    rows[1].notes.append("resampled")
    unscored = [Row("c", notes=["narrow-band"]), Row("d", notes=["narrow-band"], failed=True)]
    assert remarks([*rows, *unscored]) == [
        "all 2 files: narrow-band",
        "b: resampled",
        "c: narrow-band",
        "d: narrow-band",
    ]


def test_paths_that_are_refused(rows: list[Row], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ends in \.json, \.csv"):
        check_paths([tmp_path / "r.txt"])
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(InputError, match="it is a folder"):
        write_reports([tmp_path / "folder.json"], Report(rows))
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot write"):
        write_reports([tmp_path / "file" / "r.json"], Report(rows))


@pytest.mark.parametrize("name", ["r.json", "in/../r.json", "link/r.json"])
def test_two_reports_cannot_be_one_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(InputError, match="cannot be one file"):
        check_paths([tmp_path / "r.json", tmp_path / "r.csv", tmp_path / name])


def test_reports_are_told_from_other_files(rows: list[Row], tmp_path: Path) -> None:
    paths = [tmp_path / f"r{ending}" for ending in FORMATS]
    for found in (rows, rows[:1], []):
        write_reports(paths, Report(found, Run(command="audiotool denoise")), "none")
        assert all(map(is_report, paths))
    others = {
        ".json": json_output.document("train", run="runs/a", checkpoint="a.safetensors"),
        ".csv": "file,input,output\na.wav,b.wav,c.wav\n",
        ".md": "# Notes\n",
        PAGE: '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>Mine</title>',
        ".png": "# audiotool report: 1 file\n",
    }
    for ending, text in others.items():
        path = tmp_path / f"other{ending}"
        path.write_text("")
        assert is_report(path), "an empty file holds nothing that could be lost"
        path.write_text(text)
        assert not is_report(path)
    assert not is_report(tmp_path / "missing.json")


def test_json_is_read_back(rows: list[Row], tmp_path: Path) -> None:
    rows[1].facts["status"] = "failed"
    rows[1].failed = True
    run = Run.begin("audiotool denoise 'a b.wav'", model="denoise-16k", settings={"mix": 0.8}).ended()
    path = tmp_path / "r.json"
    write_reports([path], Report(rows, run))
    assert read_json_report(path) == Report(rows, run)
    path.write_text(to_json(Report([], Run())))
    assert read_json_report(path) == Report([], Run())


def test_a_clock_that_is_set_back_changes_no_elapsed_time(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run.begin("audiotool denoise a.wav")
    hour_before = datetime.now().astimezone() - timedelta(hours=1)
    monkeypatch.setattr("audiotool.report.report.datetime", FixedClock(hour_before))
    elapsed = run.ended().elapsed_s
    assert elapsed is not None
    assert 0 <= elapsed < 600


def test_a_report_of_many_files_is_read_back(rows: list[Row], tmp_path: Path) -> None:
    many = [replace(row, notes=["x" * 1000]) for row in rows * 6000]
    path = tmp_path / "r.json"
    write_reports([path], Report(many))
    assert path.stat().st_size > MAX_BYTES
    assert read_json_report(path).rows == many


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"files": 3, "summary": {}}',
        '{"files": [{}], "summary": {}}',
        '{"files": [], "summary": {}, "run": {"planned": 1e999}}',
    ],
)
def test_invalid_reports_are_refused_in_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(InputError, match="is no report") as refused:
        read_json_report(tmp_path / "r.json")
    assert "\n" not in str(refused.value)


def test_markdown_of_hostile_names(rows: list[Row]) -> None:
    rows[0].name = "a|b\n<script>alert(1)</script> *x* [y](z).wav"
    text = to_markdown(Report(rows, Run("audiotool evaluate | x")))
    assert "\\|b \\<script\\>" in text
    assert "<script>" not in text
    table = [line for line in text.splitlines() if line.startswith("| ")]
    assert table[0] == "| file | status | pesq | stoi | x real time |"
    assert "| 1.500 → 2.500 | 0.800 → 0.900 | 20.5 |" in table[2]
    assert len(table) == 5
    assert "- b, c: no stoi: the reference is silent" in text
    assert "No files." in to_markdown(Report([]))


def test_stems_of_a_recording_are_one_file() -> None:
    def stem(recording: str, name: str, elapsed_s: float) -> Row:
        facts = {"input": recording, "output": name, "seconds": 2.0, "elapsed_seconds": elapsed_s}
        return Row(f"{recording}: {name}", facts=facts)

    rows = [stem(mixture, f"{n}.wav", 0.4) for mixture in "ab" for n in (1, 2)]
    scored = [Row(name, facts={"elapsed_seconds": 0.1}) for name in "cd"]
    again = [stem("a", "other.wav", 0.7)]
    assert len(Report([*rows, *scored, *again]).recordings()) == 5
    report = Report(rows, Run("audiotool separate a b", elapsed_s=2.0))
    assert to_markdown(report).startswith("# audiotool report: 2 files")
    head = str(page_head.head(report, []))
    assert "Separate, 2 files" in head
    assert "4 stems" in head
    assert "4.0 s" in head


def test_a_report_that_fails_leaves_the_others(rows: list[Row], tmp_path: Path) -> None:
    names = ("page.html", "r.json", "r.csv", "r.md")
    with largest_file(4000), pytest.raises(InputError, match=r"cannot write .*page.html: "):
        write_reports([tmp_path / name for name in names], Report(rows))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.csv", "r.json", "r.md"]


def test_a_report_whose_folder_is_gone_leaves_the_others(rows: list[Row], tmp_path: Path) -> None:
    (tmp_path / "gone").touch()
    with pytest.raises(InputError, match="gone is not a folder"):
        write_reports([tmp_path / "gone" / "r.json", tmp_path / "r.md"], Report(rows))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gone", "r.md"]


def test_every_checkpoint_is_named(rows: list[Row], tmp_path: Path) -> None:
    rows[0].facts |= {"model": "denoise-48k", "checkpoint_sha256": "e21b"}
    report = Report(rows, Run(model="denoise-16k", checkpoint_sha256="a6ec"))
    assert report.checkpoints() == {"denoise-16k": "a6ec", "denoise-48k": "e21b"}
    assert "- model: denoise-48k, SHA-256 e21b" in to_markdown(report)
    write_reports([tmp_path / "page.html", tmp_path / "r.csv"], report)
    page = (tmp_path / "page.html").read_text()
    assert all(word in page for word in ("denoise-48k", "SHA-256 e21b", "denoise-16k", "SHA-256 a6ec"))
    assert read_csv(tmp_path / "r.csv").checkpoints() == {"denoise-48k": "e21b"}


def test_a_checkpoint_that_no_file_was_processed_with_is_not_named() -> None:
    run = Run(model="denoise-16k", checkpoint_sha256="a6ec")
    done = Row("a.wav", facts={"status": "done", "model": "denoise-48k", "checkpoint_sha256": "e21b"})
    failed = Row("b.wav", facts={"status": "failed"})
    assert Report([done, failed], run).checkpoints() == {"denoise-48k": "e21b"}
    assert Report([failed], run).checkpoints() == {"denoise-16k": "a6ec"}
    skipped = Row("c.wav", facts={"status": "skipped"})
    assert Report([done, skipped], run).checkpoints() == {"denoise-16k": "a6ec", "denoise-48k": "e21b"}


def test_a_failed_write_keeps_the_earlier_report(
    rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.json"
    path.write_text("earlier")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(InputError, match="the disk is full"):
        write_reports([path], Report(rows))
    assert path.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [path]


def test_a_score_that_is_no_number_makes_no_report(tmp_path: Path) -> None:
    for number in ("NaN", "Infinity"):
        entry = f'{{"file": "a", "pesq": {number}, "reasons": {{}}, "notes": []}}'
        (tmp_path / "r.json").write_text(f'{{"files": [{entry}], "summary": {{"pesq": {{}}}}}}')
        with pytest.raises(InputError, match="is no report"):
            read_json_report(tmp_path / "r.json")
        (tmp_path / "r.csv").write_text(f"file,pesq,status,reasons,notes\na,{number},done,,\n")
        with pytest.raises(InputError, match="is no report"):
            read_csv(tmp_path / "r.csv")


def test_all_reports_that_fail_are_named(rows: list[Row], tmp_path: Path) -> None:
    (tmp_path / "gone").touch()
    paths = [tmp_path / "gone" / "r.json", tmp_path / "r.md", tmp_path / "r.txt"]
    with pytest.raises(InputError, match=r"gone is not a folder; .*r\.txt"):
        write_reports(paths, Report(rows))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gone", "r.md"]
