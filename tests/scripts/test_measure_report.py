"""scripts/measure_report.py: a batch of two short files with every kind of page."""

from __future__ import annotations

import sys

import measure_report
import pytest


def test_every_mode_is_measured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["measure_report.py", "--files", "2", "--seconds", "0.5"])
    measure_report.main()
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines] == ["report", "without", "none", "link", "embed"]
    assert float(lines[1][5]) == 0
    assert all(float(line[5]) > 0 and float(line[1]) > 0 for line in lines[2:])
