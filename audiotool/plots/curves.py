"""Training curves: the columns of train.csv and valid.csv over the step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from audiotool.plots.figure import AFTER, BEFORE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Table = Sequence[Mapping[str, str]]
"""Rows of a CSV file; "step" is a column."""

ACROSS = 3
"""Greatest number of panels in a row."""

PANEL = (3.6, 2.4)
"""Width and height of a panel in inches."""
LEFT_OUT = ("step", "skipped", "examples_per_second", "audio_seconds_per_second")


def plot_curves(training: Table, validation: Table) -> Figure:
    """Draw one panel a column: training in grey, validation in blue."""
    tables = ((training, BEFORE, "training"), (validation, AFTER, "validation"))
    columns = list(dict.fromkeys(name for table, *_ in tables for row in table for name in row))
    curves = [name for name in columns if name not in LEFT_OUT and any(_points(t, name) for t, *_ in tables)]
    across = max(1, min(ACROSS, len(curves)))
    lines = max(1, -(-len(curves) // across))
    figure = new_figure(PANEL[0] * across, PANEL[1] * lines)
    panels = list(figure.subplots(lines, across, squeeze=False).flat)
    for axes, name in zip(panels, curves, strict=False):
        for table, colour, label in tables:
            _draw(axes, _points(table, name), colour, label)
        axes.set_title(name, parse_math=False, fontsize="medium")
        axes.grid(alpha=0.3)
    for axes in panels[len(curves) :]:
        axes.remove()
    for axes in panels[:1] if curves else ():
        axes.legend(frameon=False, fontsize="small")
    return figure


def _draw(axes: Any, points: list[tuple[float, float]], colour: str, label: str) -> None:
    if points:
        mark = "." if len(points) < 40 else ""
        axes.plot(*zip(*points, strict=True), color=colour, label=label, linewidth=1.2, marker=mark)


def _points(table: Table, name: str) -> list[tuple[float, float]]:
    return [(float(row["step"]), float(row[name])) for row in table if row.get(name)]
