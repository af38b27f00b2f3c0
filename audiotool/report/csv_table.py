"""Reports as CSV."""

from __future__ import annotations

import csv
import io
from typing import Any

from audiotool import text
from audiotool.metrics.rows import column_names, summary
from audiotool.report.report import Report


def to_csv(report: Report) -> str:
    """One line a row, then a line "mean" and a line "null" with how many rows have no number."""
    rows = report.rows
    columns = column_names(rows)
    facts = list(dict.fromkeys(name for row in rows for name in row.facts))
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["file", *columns, *facts, "reasons", "notes"])
    for row in rows:
        scores = row.columns()
        writer.writerow(
            [
                row.name,
                *(_plain(scores[c].value) if c in scores else "" for c in columns),
                *(on_one_line(row.facts.get(f)) for f in facts),
                "; ".join(f"{name}: {reason}" for name, reason in row.reasons.items()),
                "; ".join(row.notes),
            ]
        )
    found = summary(rows)
    blank = [""] * (len(facts) + 2)
    writer.writerow(["mean", *(_plain(found[c]["mean"]) for c in columns), *blank])
    writer.writerow(["null", *(found[c]["null"] for c in columns), *blank])
    return text.encodable(stream.getvalue())


def on_one_line(value: Any) -> Any:
    """A fact on one line: "mix=0.8; max_attenuation_db=12.0"."""
    if isinstance(value, dict):
        return "; ".join(f"{name}={item}" for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return "; ".join(map(str, value))
    return "" if value is None else value


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
