"""Tables of the scores of files: as many metrics side by side as fit the screen; no number is cut."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from audiotool.cli.screen import console, say, show, table, write
from audiotool.metrics.rows import Row, means, remarks
from audiotool.report.scores import Measure, mixed_bands, rounded
from audiotool.text import one_line

if TYPE_CHECKING:
    from rich.table import Table

    from audiotool.report.comparison import Comparison

GAP = 2
"""Number of blanks between columns."""
NAME_SHARE = 3
"""Longer names than 1 / NAME_SHARE of the screen's width are folded if the table is too wide."""


def print_scores(rows: Sequence[Row], to_stderr: bool = False) -> None:
    """Print the tables, and the remarks of the rows on standard error.

    Raises:
        BrokenPipeError, InputError: as `screen.write`.
    """
    for number, made in enumerate(score_tables(rows, console(to_stderr).width)):
        if number:
            (sys.stderr.write if to_stderr else write)("\n")
        show(made, to_stderr)
    for line in filter(None, (*remarks(rows), mixed_bands(rows))):
        say(line)


def print_comparison(comparison: Comparison) -> None:
    """Print a line a metric, and what the columns mean.

    Raises:
        BrokenPipeError, InputError: as `screen.write`.
    """
    from audiotool.report.comparison import HEADINGS

    write(f"\n{one_line(comparison.heading)}\n")
    made = table(*HEADINGS)
    for cells in comparison.lines():
        made.add_row(*cells)
    show(made)
    write(f"{one_line(comparison.remark)}\n")


def score_tables(rows: Sequence[Row], width: int) -> list[Table]:
    """Return the tables of scores, "noisy → estimate" where there is a baseline; the mean is the last row.

    Both sides of a mean are over the same rows: "(3 of 4)" where some lack a number.

    Args:
        width: of the screen in characters.
    """
    from rich.cells import cell_len

    metrics = list(dict.fromkeys(name for row in rows for name in row.values))
    columns = {metric: _column(metric, rows) for metric in metrics}
    widths = {m: max(cell_len(line) for text in columns[m] for line in text.split("\n")) for m in metrics}
    if any("\n" in heading for heading, *_ in columns.values()):
        # Headings of one line stand beside the first of two.
        columns = {m: [h if "\n" in h else f"{h}\n", *cells] for m, (h, *cells) in columns.items()}
    names = [one_line(row.name) for row in rows]
    longest = max(map(cell_len, [*names, "mean"]))
    if longest + sum(GAP + w for w in widths.values()) <= width:
        first = longest
    else:
        first = min(longest, max(width // NAME_SHARE, len("mean")))
    made = []
    for group in _groups(metrics, widths, width - first):
        headings = [columns[metric][0] for metric in group]
        part = table("file" + "\n" * headings[0].count("\n"), *headings, footer=len(rows) > 1)
        names_column = part.columns[0]
        names_column.width = names_column.min_width = first
        names_column.footer = "mean"
        names_column.no_wrap, names_column.overflow = False, "fold"
        for column, metric in zip(part.columns[1:], group, strict=True):
            column.footer = columns[metric][-1]
        for n, name in enumerate(names):
            part.add_row(name, *(columns[m][1 + n] for m in group))
        made.append(part)
    return made


def _groups(metrics: Sequence[str], widths: dict[str, int], width: int) -> list[list[str]]:
    """Group metrics in order, as many in each group as fit a width, at least one."""
    groups: list[list[str]] = []
    left = 0
    for metric in metrics:
        left -= GAP + widths[metric]
        if left < 0 or not groups:
            groups.append([])
            left = width - GAP - widths[metric]
        groups[-1].append(metric)
    return groups


def _column(metric: str, rows: Sequence[Row]) -> list[str]:
    """Return a metric's heading, its cells and its mean."""
    cells = []
    for row in rows:
        pair = [side[metric].value for side in (row.baseline, row.values) if metric in side]
        cells.append(" → ".join(map(_shown, pair)))
    found = means(rows, metric)
    sides = (found.before, found.after) if any(metric in row.baseline for row in rows) else (found.after,)
    mean = " → ".join(map(_shown, sides)) + (f"\n({found.counted})" if found.counted else "")
    measure = Measure.of(metric)
    return [f"{measure.title}\n{measure.unit}".rstrip(), *cells, mean]


def _shown(value: float | None) -> str:
    return "null" if value is None else rounded(value)
