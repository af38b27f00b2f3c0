"""Reports say the same as table, JSON and CSV, and are complete or not there."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest

from audiotool.errors import InputError
from audiotool.metrics.base import Value
from audiotool.metrics.report import Row, check_path, remarks, summary, to_csv, write_report


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


def test_json(rows: list[Row], tmp_path: Path) -> None:
    write_report(tmp_path / "new" / "r.json", rows)
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
    write_report(tmp_path / "r.CSV", rows)
    text = (tmp_path / "r.CSV").read_text()
    assert text == to_csv(rows)
    lines = list(csv.DictReader(text.splitlines()))
    assert [line["file"] for line in lines] == ["a", "b, c", "mean", "null"]
    assert lines[0]["real_time_factor"] == "20.5"
    assert lines[1]["stoi"] == ""
    assert "stoi: the reference is silent" in lines[1]["reasons"]
    assert lines[2]["pesq"] == "3"
    assert lines[3]["stoi"] == "1"


def test_remarks_group_metrics_by_reason(rows: list[Row]) -> None:
    rows[1].values["estoi"] = Value(None, "the reference is silent")
    assert remarks(rows) == [
        "b, c: no stoi, stoi_noisy, estoi: the reference is silent",
        "b, c: resampled",
    ]


def test_paths_that_are_refused(rows: list[Row], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ends in \.json or \.csv"):
        check_path(tmp_path / "r.txt")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(InputError, match="it is a folder"):
        write_report(tmp_path / "folder.json", rows)
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot write"):
        write_report(tmp_path / "file" / "r.json", rows)


def test_a_failed_write_keeps_the_earlier_report(
    rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.json"
    path.write_text("earlier")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match="the disk is full"):
        write_report(path, rows)
    assert path.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [path]
