"""Rows of a report: what is said of each job. Nulls are counted, not dropped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from audiotool.metrics.base import Curve, Value


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
        curves: scores over time, by metric name.
        media: what a page shows of its recordings, see `report.media`; None for nothing.
    """

    name: str
    values: dict[str, Value] = field(default_factory=dict)
    baseline: dict[str, Value] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    failed: bool = False
    curves: dict[str, Curve] = field(default_factory=dict)
    media: Any = field(default=None, compare=False, repr=False)

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
    columns = column_names(rows)
    result = {}
    for name in columns:
        values = [row.columns()[name].value for row in rows if name in row.columns()]
        numbers = [v for v in values if v is not None]
        mean = math.fsum(numbers) / len(numbers) if numbers else None
        result[name] = {"mean": mean, "scored": len(numbers), "null": len(values) - len(numbers)}
    return result


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


def metric_names(columns: Sequence[str]) -> list[str]:
    """The columns of scores without those derived of them: "pesq" of "pesq" and "pesq_noisy"."""
    derived = {f"{name}{ending}" for name in columns for ending in ("_noisy", "_improvement")}
    return [name for name in columns if name not in derived]


def column_names(rows: Sequence[Row]) -> list[str]:
    """Names of all columns of scores, in their order."""
    return list(dict.fromkeys(name for row in rows for name in row.columns()))


def _difference(value: Value, noisy: Value) -> Value:
    if value.value is None or noisy.value is None:
        return Value(None, value.reason or noisy.reason)
    return Value(value.value - noisy.value)
