"""Training curves: the columns of train.csv and valid.csv over the step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from audiotool.metrics.base import METRICS
from audiotool.plots.figure import AFTER, BEFORE, panels
from audiotool.report.scores import Measure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Table = Sequence[Mapping[str, str]]
"""Rows of a CSV file; "step" is a column."""

PANEL = (3.6, 2.4)
"""Width and height of a panel in inches."""
LEFT_OUT = ("step", "set", "metric", "skipped", "examples_per_second", "audio_seconds_per_second")


def plot_curves(training: Table, validation: Table) -> Figure:
    """Draw one panel a column: training in grey, validation in blue."""
    tables = ((training, BEFORE, "training"), (validation, AFTER, "validation"))
    columns = list(dict.fromkeys(name for table, *_ in tables for row in table for name in row))
    curves = [name for name in columns if name not in LEFT_OUT and any(_points(t, name) for t, *_ in tables)]
    figure, drawn = panels([_heading(name) for name in curves], *PANEL)
    for axes in drawn[1:]:
        axes.sharex(drawn[0])
    for axes, name in zip(drawn, curves, strict=True):
        for table, colour, label in tables:
            _draw(axes, _points(table, name), colour, label)
        axes.set_xlabel("step")
    for axes in drawn[:1]:
        axes.legend(frameon=False, fontsize="small")
    return figure


def _heading(name: str) -> str:
    """Return the title of a column: a metric's heading, or its own name."""
    if name == "rate":
        return "learning rate"
    return Measure.of(name).heading if name in METRICS else name


def _draw(axes: Any, points: list[tuple[float, float]], colour: str, label: str) -> None:
    if points:
        mark = "." if len(points) < 40 else ""
        axes.plot(*zip(*points, strict=True), color=colour, label=label, linewidth=1.2, marker=mark)


def _points(table: Table, name: str) -> list[tuple[float, float]]:
    return [(float(row["step"]), float(row[name])) for row in table if row.get(name)]
