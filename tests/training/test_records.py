"""The curves that a run draws."""

from __future__ import annotations

from pathlib import Path

import pytest

from audiotool import extras
from audiotool.training.folder import RunFolder
from audiotool.training.records import CURVES, Records


@pytest.mark.skipif(not extras.is_there("matplotlib"), reason=extras.install("plots"))
def test_curves_are_drawn_with_each_validation_and_at_the_end(tmp_path: Path) -> None:
    records = Records(RunFolder(tmp_path, "x"), 0, tensorboard=False)
    records.log(1, {"loss": 2.0})
    assert not (tmp_path / CURVES).exists()
    records.validate(1, {"pesq": 1.5, "stoi": float("nan")}, "1e99", "pesq")
    first = (tmp_path / CURVES).read_bytes()
    assert first.startswith(b"\x89PNG")
    records.log(2, {"loss": 1.0})
    records.close()
    assert (tmp_path / CURVES).read_bytes() != first


def test_a_picture_that_fails_costs_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    records = Records(RunFolder(tmp_path, "x"), 0, tensorboard=False)
    monkeypatch.setattr("audiotool.training.records.is_there", lambda module: False)
    records.validate(1, {"pesq": 1.5}, "1e99", "pesq")
    assert not (tmp_path / CURVES).exists()
    monkeypatch.undo()
    (tmp_path / CURVES).mkdir()
    records.close()
    if extras.is_there("matplotlib"):
        assert "the curves were not drawn" in caplog.text
    assert "1.5" in (tmp_path / "valid.csv").read_text()
