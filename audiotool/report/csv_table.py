"""Reports as CSV."""

from __future__ import annotations

import csv
import itertools
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from audiotool import text
from audiotool.audio.formats import is_output_name
from audiotool.csv_documents import csv_text
from audiotool.errors import InputError
from audiotool.metrics.rows import REFERENCE_RATE, Row, column_names, from_columns
from audiotool.metrics.values import Value, finite_number
from audiotool.report.report import Report, Run

NUMBERS = (
    *("seconds", "elapsed_seconds", "real_time_factor", "sample_rate", "channels", REFERENCE_RATE),
    *("peak", "input_peak", "limited", "bandwidth_hz"),
)
"""Names of the facts that are numbers; a CSV file does not say which of its columns are."""

STATUS = "status"
"""Name of the first column behind the scores."""

OUTPUT = "output"
"""Name of the fact that is a path, or several."""

BETWEEN, ESCAPED = "; ", "\\; "
"""What stands between the parts of a cell, and what it becomes inside of one."""

Entry = dict[str, str]
"""The cells of a line, by the names of their columns."""

CONSTANTS = {"None": None, "True": True, "False": False}


def to_csv(report: Report) -> str:
    """Return a line a row: its name, scores, status, other facts, reasons and notes.

    There is no line of means, because programs that read tables would take it for a file. No text is a
    formula to a spreadsheet that separates cells at commas (`text.csv_cell`).
    """
    rows = report.rows
    columns = column_names(rows)
    # The status is in every row: it ends the scores, whose names the reader need not know.
    facts = list(dict.fromkeys([STATUS, *(name for row in rows for name in row.facts)]))
    lines = [
        [
            _cell(row.name),
            *(_plain(scores[c].value) if c in scores else "" for c in columns),
            *(_cell(_fact_cell(f, known.get(f))) for f in facts),
            _cell(_joined([f"{name}: {reason}" for name, reason in row.reasons.items()])),
            _cell("; ".join(row.notes)),
        ]
        for row in rows
        for scores, known in [(row.columns(), {**row.facts, STATUS: row.status})]
    ]
    head = map(_cell, ["file", *columns, *facts, "reasons", "notes"])
    return text.encodable(csv_text([head, *lines]))


def curves_to_csv(rows: Sequence[Row]) -> str:
    """Return scores over time: one line for each row and step, with the time in seconds."""
    names = list(dict.fromkeys(name for row in rows for name in row.curves))
    lines: list[list[Any]] = [["file", "seconds", *map(_cell, names)]]
    for row in rows:
        step_s = next((curve.step_s for curve in row.curves.values()), 0.0)
        columns = [row.curves[name].values if name in row.curves else () for name in names]
        for n, values in enumerate(itertools.zip_longest(*columns)):
            lines.append([_cell(row.name), f"{n * step_s:.6g}", *map(_plain, values)])
    return text.encodable(csv_text(lines))


def read_csv(path: Path) -> Report:
    """Read a report that `to_csv` wrote.

    A CSV file holds the rows alone: the report has no facts of the run and no command. Scores have the six
    digits that were written, and all notes of a row are one.

    Raises:
        InputError: the file cannot be read or is no report.
    """
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            lines = [[text.from_csv_cell(cell) for cell in line] for line in csv.reader(file, strict=True)]
        names, *rows = (line for line in lines if line)
        entries, columns = _of_files([dict(zip(names, row, strict=True)) for row in rows], names)
        return Report([_row(entry, columns) for entry in entries], Run(version=None), command="")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (csv.Error, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is no report of audiotool: give the .csv that --report wrote") from error


def _of_files(entries: Sequence[Entry], names: Sequence[str]) -> tuple[Sequence[Entry], Sequence[str]]:
    """Return the entries of files, and the names of the columns of scores.

    Reports of 0.2 end in two lines without a status: "mean", and "null", which has a number for each score.
    """
    last = entries[-2:]
    if [entry["file"] for entry in last] == ["mean", "null"] and not any(e.get(STATUS) for e in last):
        return entries[:-2], [name for name in names[1:] if last[1][name]]
    return entries, names[1 : names.index(STATUS)]


def _row(entry: Entry, columns: Sequence[str]) -> Row:
    reasons = dict(part.split(": ", 1) for part in _split(entry["reasons"]) if ": " in part)

    def value(column: str) -> Value | None:
        if number := entry.get(column):
            return Value(finite_number(float(number)))
        # A row that was not scored has neither a number nor a reason.
        return Value(None, reasons[column]) if column in entry and column in reasons else None

    scores, baseline = from_columns(columns, value)
    own = {"file", "reasons", "notes", *columns}
    facts = {name: _fact(name, fact) for name, fact in entry.items() if name not in own and fact}
    return Row(
        entry["file"],
        scores,
        baseline,
        facts,
        [entry["notes"]] if entry["notes"] else [],
        facts.get("status") == "failed",
    )


def _fact_cell(name: str, value: Any) -> Any:
    """Return a fact for a cell: numbers as they are, several parts as one text."""
    parts = [value] if name == OUTPUT and isinstance(value, str) else _parts_of(value)
    if parts is not None:
        return _joined(parts)
    return "" if value is None else value


def _joined(parts: Sequence[str]) -> str:
    """Return texts as one, which `_split` separates again: a name may hold what stands between two."""
    return BETWEEN.join(part.replace(BETWEEN, ESCAPED) for part in parts)


def _split(cell: str) -> list[str]:
    parts = re.split(rf"(?<!\\){BETWEEN}", cell)
    return [part.replace(ESCAPED, BETWEEN) for part in parts]


def _fact(name: str, cell: str) -> Any:
    """Return a fact from the cell that `_fact_cell` made of it."""
    parts = _split(cell)
    if name in NUMBERS:
        return _number(cell)
    if name == OUTPUT and len(parts) == 1:
        return parts[0]
    if name == OUTPUT and all(is_output_name(Path(part)) for part in parts):
        return parts
    if name == "settings" and all("=" in part for part in parts):
        pairs = (part.split("=", 1) for part in parts)
        return {key: CONSTANTS[value] if value in CONSTANTS else _number(value) for key, value in pairs}
    return cell


def _number(cell: str) -> float | int | str:
    """Return the finite number that a cell holds, or its text."""
    try:
        number = float(cell)
    except ValueError:
        return cell
    if not math.isfinite(number):
        return cell
    return int(cell) if cell.lstrip("-").isdecimal() else number


def on_one_line(value: Any) -> Any:
    """Return a fact on one line: "mix=0.8; max_attenuation_db=12.0"."""
    parts = _parts_of(value)
    if parts is not None:
        return BETWEEN.join(parts)
    return "" if value is None else value


def _parts_of(value: Any) -> list[str] | None:
    """Return the texts of a fact that has several; None for any other."""
    if isinstance(value, dict):
        return [f"{name}={item}" for name, item in value.items()]
    return list(map(str, value)) if isinstance(value, (list, tuple)) else None


def _cell(value: Any) -> Any:
    """Return a name, a fact or a note for a cell, without the credentials of URLs."""
    return text.csv_cell(text.without_credentials(value) if isinstance(value, str) else value)


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
