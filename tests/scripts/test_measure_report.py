"""scripts/measure_report.py: a batch of two short files with every kind of page."""

from __future__ import annotations

from collections.abc import Callable


def test_every_mode_is_measured(run: Callable[..., str]) -> None:
    out = run("measure_report", "--files", 2, "--seconds", 0.5)
    lines = [line.split() for line in out.splitlines()]
    assert [line[0] for line in lines] == ["report", "without", "none", "link", "embed"]
    assert float(lines[1][5]) == 0
    assert all(float(line[5]) > 0 and float(line[1]) > 0 for line in lines[2:])
