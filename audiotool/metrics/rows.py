"""Rows of a report: the results of each job. Nulls are counted, not dropped."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from audiotool.audio.formats import is_readable_name
from audiotool.metrics.values import Curve, Value
from audiotool.paths import Folders

REFERENCE_RATE = "reference_sample_rate"
"""Name of the fact that is the sample rate in Hz at which a row's files were compared."""

NOT_FETCHED = "its output was in the object store already"
"""The reason of scores that were not attempted, because a resumed batch fetches no outputs from a store."""


@dataclass
class Row:
    """The results of one job, or of one stem of it.

    Args:
        name: name of the file or stem.
        values: scores by name of the metric.
        baseline: scores of the unprocessed input, by the same names; empty without one.
        facts: other facts ("real_time_factor": 31.0).
        notes: remarks for the user ("resampled from 48000 to 16000 Hz").
        failed: whether the job failed; its values are then reasons.
        curves: scores over time, by name of the metric.
        media: pictures and sounds for a page, see `report.media`; None without.
        run_notes: those of the notes that are of a run and not of an output: on its scores, for example. A
            resumed batch does not keep them.
    """

    name: str
    values: dict[str, Value] = field(default_factory=dict)
    baseline: dict[str, Value] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    failed: bool = False
    curves: dict[str, Curve] = field(default_factory=dict)
    media: Any = field(default=None, compare=False, repr=False)
    run_notes: list[str] = field(default_factory=list)

    @property
    def reasons(self) -> dict[str, str]:
        """The reasons of null scores, by column."""
        return {name: v.reason or "unknown" for name, v in self.columns().items() if v.value is None}

    @property
    def remarks(self) -> list[str]:
        """The scores that are missing with the reason, a line each, and the notes."""
        reasons = (item for item in self.reasons.items() if not item[0].endswith("_improvement"))
        return [*(f"no {name}: {why}" for name, why in reasons), *self.notes]

    @property
    def status(self) -> str:
        """How the job ended: "done", "skipped" or "failed"; a row that was only scored is done."""
        return "failed" if self.failed else str(self.facts.get("status", "done"))

    def columns(self) -> dict[str, Value]:
        """Return the scores by column: "pesq", and with a baseline "pesq_noisy" and "pesq_improvement".

        The last is the first minus the second, whatever is better: of "lsd" an improvement is below 0.
        """
        result: dict[str, Value] = {}
        for name, value in self.values.items():
            result[name] = value
            if name in self.baseline:
                noisy = self.baseline[name]
                result[f"{name}_noisy"] = noisy
                result[f"{name}_improvement"] = _difference(value, noisy)
        return result


def summary(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """Return the mean over the rows that have a number, and counts: {column: {"mean", "scored", "null"}}."""
    scores = [row.columns() for row in rows]
    result = {}
    for name in column_names(rows):
        values = [columns[name].value for columns in scores if name in columns]
        known = [v for v in values if v is not None]
        result[name] = {"mean": _mean(known), "scored": len(known), "null": len(values) - len(known)}
    return result


@dataclass(frozen=True)
class Means:
    """A metric's means of the unprocessed inputs and of the outputs, over the same rows.

    Args:
        before: mean of the inputs; None where no input has a number.
        after: mean of the outputs; None where no output has a number.
        scored: number of rows that count, see `comparable`; 0 where no output has a number.
        rows: number of rows that were to be scored.
    """

    before: float | None
    after: float | None
    scored: int
    rows: int

    @property
    def counted(self) -> str:
        """The number of rows that count, "3 of 4"; "" where all do."""
        return "" if self.scored == self.rows else f"{self.scored} of {self.rows}"


def means(rows: Sequence[Row], metric: str) -> Means:
    """Return a metric's means of inputs and outputs, whose difference is what the same files gained."""
    counted = comparable(rows, metric)
    before, after = numbers(counted, metric)
    scored, asked = len(counted) if after else 0, sum(metric in row.values for row in rows)
    return Means(_mean(before), _mean(after), scored, asked)


def comparable(rows: Sequence[Row], *metrics: str) -> list[Row]:
    """Return the rows that have the number of every metric, of the input and of the output.

    A number that no row has is not asked for, as that of inputs where there are none.
    """

    def known(rows: Sequence[Row]) -> list[bool]:
        return [bool(side) for metric in metrics for side in numbers(rows, metric)]

    of_all = known(rows)
    return [row for row in rows if any(of_all) and known([row]) == of_all]


def numbers(rows: Sequence[Row], metric: str) -> tuple[list[float], list[float]]:
    """Return a metric's numbers of the inputs, and of the outputs, of the rows that have one."""
    sides = ([row.baseline for row in rows], [row.values for row in rows])
    before, after = ([n for scores in side if (n := number_of(scores, metric)) is not None] for side in sides)
    return before, after


def number_of(scores: Mapping[str, Value], metric: str) -> float | None:
    """Return a metric's number among the scores of a row; None where it has none."""
    score = scores.get(metric)
    return None if score is None else score.value


Mark = Callable[[Row], Hashable]
"""Function of a row: what it has in common with the row of another system; None where that is not known."""


def of_one_file(first: Sequence[Row], second: Sequence[Row]) -> list[tuple[Row, Row]]:
    """Return the rows of two systems that are of one file, in the order of the second.

    Rows are of one file that are of one stem of a mixture, have one reference, one name, names that differ in
    the ending, or one input: if there is one of each, in this order, however their paths are spelled.
    """
    folders = Folders()
    others, own = ({n: _resolved(row, folders) for n, row in enumerate(rows)} for rows in (first, second))
    found: dict[int, int] = {}
    for mark in (_stem, _reference, _name, _file, _input):
        theirs = _alone(others, mark)
        for value, n in _alone(own, mark).items():
            if value in theirs and not _differ(mark, others[theirs[value]], own[n]):
                found[n] = theirs[value]
                del others[found[n]], own[n]
    return [(first[found[n]], row) for n, row in enumerate(second) if n in found]


def _resolved(row: Row, folders: Folders) -> Row:
    """Return a row with its places resolved."""
    places = {name: place for name in ("reference", "noisy", "input") if (place := _fact(row, name))}
    # A report from outside may have what is no name.
    with contextlib.suppress(ValueError):
        places = {name: folders.real(place) for name, place in places.items()}
    return replace(row, facts={**row.facts, **places})


def numbers_of_both(pairs: Sequence[tuple[Row, Row]], metric: str) -> list[tuple[float, float]]:
    """Return a metric's numbers of the outputs of two systems, of the pairs in which both have one."""
    found = [(number_of(first.values, metric), number_of(second.values, metric)) for first, second in pairs]
    return [(first, second) for first, second in found if first is not None and second is not None]


def _alone(rows: Mapping[int, Row], mark: Mark) -> dict[Hashable, int]:
    """Return the rows by their marks; of those that share one, none."""
    found: dict[Hashable, list[int]] = {}
    for n, row in rows.items():
        found.setdefault(mark(row), []).append(n)
    return {value: same[0] for value, same in found.items() if len(same) == 1 and value is not None}


def _differ(mark: Mark, first: Row, second: Row) -> bool:
    """Return whether rows of one reference or one input are of two files, as they differ in the other."""
    marks = (_reference, _input) if mark in (_reference, _input) else ()
    return any(of(first) != of(second) for of in marks if None not in (of(first), of(second)))


def _stem(row: Row) -> Hashable:
    stem = _fact(row, "stem")
    return None if stem is None else (_fact(row, "mixture"), stem)


def _reference(row: Row) -> Hashable:
    return _fact(row, "reference")


def _name(row: Row) -> Hashable:
    return row.name


def _file(row: Row) -> Hashable:
    return without_ending(row.name)


def _input(row: Row) -> Hashable:
    return _fact(row, "noisy") or _fact(row, "input")


def _fact(row: Row, name: str) -> str | None:
    """Return a fact that is a text: a report from outside may have anything there."""
    value = row.facts.get(name)
    return value if isinstance(value, str) and value else None


def without_ending(name: str) -> str:
    """Return the name of a file without its ending, which the rows of a batch have and others do not."""
    path = Path(name)
    return str(path.with_suffix("")) if is_readable_name(path) else name


def remarks(rows: Sequence[Row]) -> list[str]:
    """Return reasons and notes as lines for the user: "a.wav: no stoi: the reference is silent".

    What is said of all scored rows is one line: "all 9 files: no plcmos: PLCMOS needs speechmos".
    """
    said = [[*_missing(row), *row.notes] for row in rows]
    scored = [found for row, found in zip(rows, said, strict=True) if row.columns() and not row.failed]
    everywhere = [line for line in scored[0] if all(line in found for found in scored)] if scored[1:] else []
    lines = [f"all {len(scored)} files: {line}" for line in everywhere]
    for row, found in zip(rows, said, strict=True):
        own = found if row.failed or not row.columns() else [x for x in found if x not in everywhere]
        lines += [f"{row.name}: {line}" for line in own]
    return lines


def _missing(row: Row) -> list[str]:
    """Return which scores a row lacks and why, a line a reason."""
    by_reason: dict[str, list[str]] = {}
    for column, reason in row.reasons.items():
        if not column.endswith("_improvement"):
            by_reason.setdefault(reason, []).append(column)
    return [f"no {', '.join(names)}: {reason}" for reason, names in by_reason.items()]


def from_columns(
    columns: Sequence[str], value: Callable[[str], Value | None]
) -> tuple[dict[str, Value], dict[str, Value]]:
    """Return a row's scores and its baseline from all columns of a report, as `Row.columns` names them, and
    a function that returns the row's score in a column; None where it has none."""
    derived = {f"{name}{ending}" for name in columns for ending in ("_noisy", "_improvement")}
    names = [name for name in columns if name not in derived]
    scores = {name: score for name in names if (score := value(name)) is not None}
    baseline = {name: score for name in names if (score := value(f"{name}_noisy")) is not None}
    return scores, baseline


def column_names(rows: Sequence[Row]) -> list[str]:
    """Return the names of all columns of scores, in their order."""
    return list(dict.fromkeys(name for row in rows for name in row.columns()))


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _difference(value: Value, noisy: Value) -> Value:
    if value.value is None or noisy.value is None:
        return Value(None, value.reason or noisy.reason)
    return Value(value.value - noisy.value)
