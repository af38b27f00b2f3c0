"""Figures and their files, by matplotlib without a display; it is imported where it is used."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from audiotool.atomic import replacing
from audiotool.extras import require
from audiotool.text import one_line
from audiotool.writable import as_input_error, check_outputs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")
RESOLUTION = 150
"""Resolution of PNG files in pixels an inch."""
ACROSS = 3
"""Greatest number of panels in a row."""
BEFORE, AFTER = "#9aa1a9", "#2f6690"
"""Colours of inputs and of outputs, as on the page."""


def check_paths(paths: Sequence[Path]) -> None:
    """Check the paths of a plot, and that matplotlib is installed, before any work is done.

    Raises:
        InputError: a path has none of the endings of `FORMATS`, is given twice, or cannot be written.
        DependencyError: matplotlib is not installed.
    """
    if paths:
        require("matplotlib", "a plot")
    check_outputs(paths, FORMATS, "plot")


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure with automatic layout.

    Args:
        width, height: size in inches.
    """
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def panels(titles: Sequence[str], width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure with a panel for each title, at most `ACROSS` in a row; titles are shown as they are.

    Args:
        width, height: size of a panel in inches.
    """
    across = max(1, min(ACROSS, len(titles)))
    lines = max(1, -(-len(titles) // across))
    figure = new_figure(width * across, height * lines)
    places = list(figure.subplots(lines, across, squeeze=False).flat)
    for axes, title in zip(places, titles, strict=False):
        set_title(axes, title)
        axes.grid(alpha=0.3)
    for axes in places[len(titles) :]:
        axes.remove()
    return figure, places[: len(titles)]


def save(figure: Figure, path: Path) -> None:
    """Write a figure, completely or not at all; the file's ending gives the format.

    Raises:
        InputError: the file cannot be written, or the disk is full.
    """
    drawn = io.BytesIO()
    # A character that the fonts do not have is drawn as a box, without a warning.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(drawn, format=path.suffix.lower()[1:], dpi=RESOLUTION)
    # Not by matplotlib: on a full disk its PDF raises errors of its own.
    with as_input_error(path), replacing(path) as file:
        file.write(drawn.getbuffer())


def set_title(axes: Axes, title: str, loc: Literal["left", "center"] = "center") -> None:
    """Set the title of axes, in which dollar signs do not begin formulas."""
    axes.set_title(title, parse_math=False, fontsize="medium", loc=loc)


def shortened(name: str, longest: int) -> str:
    """Return a name from outside on one line, without its middle where it is longer.

    Args:
        longest: greatest width in columns of a terminal, of which a Chinese character takes two.
    """
    from rich.cells import cell_len

    name = one_line(name)
    if cell_len(name) <= longest:
        return name
    first = last = name
    while cell_len(first) > longest // 2:
        first = first[:-1]
    while cell_len(last) > longest - longest // 2 - 1:
        last = last[1:]
    return f"{first}…{last}"
