"""The table of a page. Cells have their numbers as attributes, by which the script sorts the rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from audiotool.metrics.rows import Row, number_of
from audiotool.report.markup import Markup, element, joined, shown
from audiotool.report.media import Clip, Media
from audiotool.report.scores import DECIMALS, Measure, rounded, signed

AT_FIRST = 250
"""Number of rows that are shown at first, because a browser takes long to lay out thousands."""

Cell = Callable[[Row], Markup]


@dataclass(frozen=True)
class Column:
    """A column that the script sorts.

    Args:
        head: heading.
        cell: function that returns the cell of a row.
        hint: tooltip of the heading.
        first: direction of the first sort, which brings the worst rows to the top.
        changes: whether it can also be sorted by the change.
        kind: "number" or "text".
    """

    head: str
    cell: Cell
    hint: str
    first: str = "descending"
    changes: bool = False
    kind: str = "number"


def table(rows: Sequence[Row], measures: Sequence[Measure]) -> Markup:
    """Return the table; row n has the id rN."""
    columns = [c for c in columns_for(measures) if any(_holds(c, row) for row in rows)]
    heads = [
        _head("file", "text", "Name", "ascending"),
        _head("status", "text", "How it ended", "descending"),
    ]
    heads += [_head(c.head, c.kind, c.hint, c.first, c.changes) for c in columns]
    lines = [_line(n, row, columns) for n, row in enumerate(rows)]
    head = element("thead", element("tr", *heads))
    caption = element("caption", "Files", class_="hidden")
    style = f"--columns: {len(heads)}"
    body = element("tbody", *lines)
    return element("table", caption, head, body, id="files", data_first=AT_FIRST, style=style)


def columns_for(measures: Sequence[Measure]) -> list[Column]:
    """Return the columns: facts of the recording, scores, levels, and facts of the job."""
    return [
        Column("report", _report, "Report that the row comes from", "ascending", kind="text"),
        Column("length", lambda row: _plain(of_recording(row, "seconds"), _clock), "Length of the recording"),
        Column("kHz", _kilohertz, "Sample rate"),
        Column("ch", lambda row: _plain(of_recording(row, "channels"), "{:g}".format), "Channels"),
        *(_score_column(measure) for measure in measures),
        Column(
            "level dB", _levels, "Level before → after, dB of full scale (root mean square)", changes=True
        ),
        Column(
            "peak",
            lambda row: _plain(of_recording(row, "peak", ["output"]), "{:.4g}".format),
            "Greatest sample of the output before limiting; 1 is full scale",
        ),
        Column(
            "limited",
            lambda row: _plain(numeric_fact(row, "limited") or None, "{:.0f}".format),
            "Samples beyond full scale that were limited",
        ),
        Column(
            "x real time",
            lambda row: _plain(numeric_fact(row, "real_time_factor"), "{:.1f}".format),
            "Seconds of audio in a second",
            first="ascending",
        ),
    ]


def _score_column(measure: Measure) -> Column:
    def cell(row: Row) -> Markup:
        after = row.values.get(measure.name)
        if after is None:
            return element("td")
        if after.value is None:
            return element("td", element("abbr", "none", title=after.reason or "unknown"))
        return _change(number_of(row.baseline, measure.name), after.value, DECIMALS, measure.verdict)

    hints = {True: "higher is better; worst first", False: "lower is better; worst first", None: ""}
    first = "ascending" if measure.higher_is_better else "descending"
    hint = ": ".join(filter(None, (measure.name, hints[measure.higher_is_better])))
    return Column(measure.heading, cell, hint, first, True)


def _change(
    before: float | None,
    after: float,
    decimals: int,
    verdict: Callable[[float | None], str],
) -> Markup:
    """Return a cell "1.52 → 2.41 +0.89"."""
    if before is None:
        return element("td", rounded(after, decimals), data_v=f"{after:.6g}")
    change = after - before
    kind = verdict(change)
    sign = {"better": " ▲", "worse": " ▼", "same": ""}[kind]
    return element(
        "td",
        f"{rounded(before, decimals)} → ",
        element("b", rounded(after, decimals)),
        element("i", f" {signed(change, decimals)}{sign}", class_=kind),
        data_v=f"{after:.6g}",
        data_d=f"{change:.6g}",
    )


def _report(row: Row) -> Markup:
    found = row.facts.get("report")
    return element("td") if found is None else element("td", found, data_v=found)


def _levels(row: Row) -> Markup:
    first, last = _clip(row, "input"), _clip(row, "output")
    if last is None or last.level_db is None:
        return element("td")
    before = None if first is None else first.level_db
    return _change(before, last.level_db, 1, lambda change: "same")


def _kilohertz(row: Row) -> Markup:
    hertz = of_recording(row, "sample_rate")
    return _plain(None if hertz is None else hertz / 1000, "{:g}".format)


def _plain(value: float | None, form: Callable[[float], str]) -> Markup:
    return element("td") if value is None else element("td", form(value), data_v=f"{value:.6g}")


def _clock(seconds: float) -> str:
    """Return a length as text: 1:02:03, 2:03 or 4.3 s."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def _head(name: str, kind: str, hint: str, first: str, changes: bool = False) -> Markup:
    # In print, a heading breaks where it has an underscore.
    broken = Markup(shown(name).replace("_", "_<wbr>"))
    buttons = [element("button", broken, type="button", data_by="v", title=hint)]
    if changes:
        title = f"Sort by the change of {name}"
        buttons.append(element("button", "Δ", type="button", data_by="d", title=title, aria_label=title))
    return element("th", *buttons, scope="col", aria_sort="none", data_kind=kind, data_first=first)


def _line(n: int, row: Row, columns: Sequence[Column]) -> Markup:
    opener = element(
        "button", row.name, type="button", class_="open", aria_expanded="false", title="Look and listen"
    )
    name = element("th", opener, scope="row", data_v=row.name)
    ending = row.status
    remarks = 0 if ending == "failed" else len(row.remarks)
    words = f"{ending}, {remarks} remark{'' if remarks == 1 else 's'}" if remarks else ending
    mark = element("td", words, class_=f"status {ending}", data_v=ending)
    cells = joined(*(column.cell(row) for column in columns))
    worse = 'class="worse"' in cells
    later = "later" if n >= AT_FIRST else None
    marks = {"data_status": ending, "data_worse": worse, "data_remarks": bool(remarks)}
    return element("tr", name, mark, cells, id=f"r{n}", class_=later, **marks)


def _holds(column: Column, row: Row) -> bool:
    return column.cell(row) != element("td")


def of_recording(row: Row, name: str, roles: Sequence[str] = ("input", "output")) -> float | None:
    """Return a number that is a fact of a row, or else of its recording: of the first role that it has."""
    known = numeric_fact(row, name)
    if known is not None:
        return known
    clips = [clip for role in roles if (clip := _clip(row, role)) is not None]
    return getattr(clips[0], name) if clips else None


def _clip(row: Row, role: str) -> Clip | None:
    """Return a row's recording of a role; None if it has several, none of which is the row's own."""
    media: Media | None = row.media
    clips = [] if media is None else [clip for clip in media.clips if clip.role == role]
    return clips[0] if len(clips) == 1 else None


def numeric_fact(row: Row, name: str) -> float | None:
    """Return a fact that is a number, or None: a report from outside may hold anything."""
    value = row.facts.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)
