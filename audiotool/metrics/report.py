"""Reports: one row a job, as JSON or CSV. Nulls are counted, not dropped."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audiotool import text
from audiotool.atomic import obstacle, write_text
from audiotool.errors import InputError
from audiotool.metrics.base import Value

FORMATS = (".json", ".csv")


@dataclass
class Row:
    """What a report says of one job.

    Args:
        name: the file, or the stem of it.
        values: scores by metric name.
        baseline: scores of the unprocessed input, by the same names; empty when it was not given.
        facts: anything else that was measured ("real_time_factor": 31.0).
        notes: remarks for people ("resampled from 48000 to 16000 Hz").
        failed: True when the job could not be done at all; its values are then reasons.
    """

    name: str
    values: dict[str, Value] = field(default_factory=dict)
    baseline: dict[str, Value] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    failed: bool = False

    @property
    def reasons(self) -> dict[str, str]:
        """Why a score is null, by column."""
        return {name: v.reason or "unknown" for name, v in self.columns().items() if v.value is None}

    def columns(self) -> dict[str, Value]:
        """Scores by column: "pesq", and with a baseline "pesq_noisy" and "pesq_improvement"."""
        result: dict[str, Value] = {}
        for name, value in self.values.items():
            result[name] = value
            if name in self.baseline:
                noisy = self.baseline[name]
                result[f"{name}_noisy"] = noisy
                result[f"{name}_improvement"] = _difference(value, noisy)
        return result


def summary(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """Mean over the rows that have a number, and the counts: {column: {"mean", "scored", "null"}}."""
    columns = _column_names(rows)
    result = {}
    for name in columns:
        values = [row.columns()[name].value for row in rows if name in row.columns()]
        numbers = [v for v in values if v is not None]
        mean = math.fsum(numbers) / len(numbers) if numbers else None
        result[name] = {"mean": mean, "scored": len(numbers), "null": len(values) - len(numbers)}
    return result


def to_json(rows: Sequence[Row]) -> str:
    """{"files": [{"file", scores…, facts…, "reasons", "notes"}], "summary": see `summary`}."""
    files = [
        {
            "file": row.name,
            **{name: value.value for name, value in row.columns().items()},
            **row.facts,
            "reasons": row.reasons,
            "notes": row.notes,
        }
        for row in rows
    ]
    return text.to_json({"files": files, "summary": summary(rows)})


def to_csv(rows: Sequence[Row]) -> str:
    """One line a row, then a line "mean" and a line "null" with how many rows have no number."""
    columns = _column_names(rows)
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
                *(_cell(row.facts.get(f)) for f in facts),
                "; ".join(f"{name}: {reason}" for name, reason in row.reasons.items()),
                "; ".join(row.notes),
            ]
        )
    found = summary(rows)
    blank = [""] * (len(facts) + 2)
    writer.writerow(["mean", *(_plain(found[c]["mean"]) for c in columns), *blank])
    writer.writerow(["null", *(found[c]["null"] for c in columns), *blank])
    return text.encodable(stream.getvalue())


def remarks(rows: Sequence[Row]) -> list[str]:
    """Reasons and notes as lines for people: "a.wav: stoi: the reference is silent"."""
    lines = []
    for row in rows:
        by_reason: dict[str, list[str]] = {}
        for column, reason in row.reasons.items():
            if not column.endswith("_improvement"):
                by_reason.setdefault(reason, []).append(column)
        lines += [f"{row.name}: no {', '.join(names)}: {reason}" for reason, names in by_reason.items()]
        lines += [f"{row.name}: {note}" for note in row.notes]
    return lines


def check_path(path: Path) -> None:
    """Refuse a report path before any work is done.

    Raises:
        InputError: it ends neither in .json nor in .csv, or cannot be written.
    """
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"{path}: a report ends in {' or '.join(FORMATS)}")
    reason = obstacle(path)
    if reason is not None:
        raise InputError(f"cannot write {path}: {reason}")


def write_report(path: Path, rows: Sequence[Row]) -> None:
    """Write JSON or CSV, as the suffix says, complete or not at all.

    Raises:
        InputError: see `check_path`; or the folder cannot be written or the disk is full.
    """
    check_path(path)
    write_text(path, to_json(rows) if path.suffix.lower() == ".json" else to_csv(rows))


def _column_names(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.columns()))


def _difference(value: Value, noisy: Value) -> Value:
    if value.value is None or noisy.value is None:
        return Value(None, value.reason or noisy.reason)
    return Value(value.value - noisy.value)


def _cell(value: Any) -> Any:
    """A fact on one line: "mix=0.8; max_attenuation_db=12.0"."""
    if isinstance(value, dict):
        return "; ".join(f"{name}={item}" for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return "; ".join(map(str, value))
    return "" if value is None else value


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
