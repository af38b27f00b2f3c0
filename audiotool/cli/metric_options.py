"""Options of metrics: the names of those to score, and thresholds of scores."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiotool import extras
from audiotool.errors import AudiotoolError, DependencyError, InputError, PlanError, as_plan_error

if TYPE_CHECKING:
    from audiotool.metrics.rows import Row

IMPROVEMENT = "_improvement"
"""Ending of the column of a score minus that of the unprocessed input: above 0 is better where higher is."""


def chosen_metrics(
    asked: str | None, default: Sequence[str], has_reference: bool, references: Iterable[Path] = ()
) -> list[str]:
    """Return the names of the metrics to score, with the members of families, checked.

    Args:
        asked: names with commas; None for the default, or without a reference all that need none.
        default: names where there is a reference.
        references: as `check_installed`.
    Raises:
        PlanError: no name or an unknown one, or a metric whose reference is missing.
        DependencyError: a metric that is named needs what is not installed.
    """
    from audiotool.metrics.base import METRICS, metric_names

    if asked is None:
        if has_reference:
            return list(default)
        return [name for name, metric in METRICS.all().items() if not metric.needs_reference]
    with as_plan_error():
        names = metric_names([name.strip() for name in asked.split(",") if name.strip()])
    if not names:
        raise PlanError(f"--metrics names none; known: {', '.join(METRICS.all())}")
    check_references(names, has_reference)
    check_installed(names, references)
    return names


def check_installed(names: Sequence[str], references: Iterable[Path]) -> None:
    """Refuse metrics that were asked for by name and whose programs or packages are missing.

    Those of a task's defaults are null instead, with the reason.

    Args:
        references: clean files; a metric with rates of its own needs a resampler for those of others.
    Raises:
        DependencyError: says what to install.
    """
    from audiotool.metrics.base import METRICS

    @cache
    def rates() -> set[int]:
        return set() if extras.is_there("soxr") else _rates_of(references)

    missing: list[str] = []
    resampled: list[str] = []
    others: set[int] = set()
    for metric in map(METRICS.get, names):
        try:
            metric.check()
        except DependencyError as error:
            missing.append(str(error))
        else:
            if metric.rates and (unlike := rates() - {*metric.rates}):
                resampled.append(metric.family or metric.name)
                others |= unlike
    if resampled:
        which, hertz = ", ".join(dict.fromkeys(resampled)), ", ".join(map(str, sorted(others)))
        try:
            extras.require("soxr", f"scoring {which} of recordings of {hertz} Hz")
        except DependencyError as error:
            missing.append(str(error))
    if missing:
        raise DependencyError("; ".join(dict.fromkeys(missing)))


def _rates_of(files: Iterable[Path]) -> set[int]:
    """Return the sample rates in Hz of files. One that cannot be read fails when it is scored."""
    from audiotool.audio.reader import probe

    found: set[int] = set()
    for path in files:
        with contextlib.suppress(AudiotoolError):
            found.add(probe(path).sample_rate)
    return found


def check_references(names: Sequence[str], has_reference: bool) -> None:
    """Refuse metrics that need a reference where there is none.

    Raises:
        PlanError: names these metrics.
    """
    from audiotool.metrics.base import METRICS

    needy = [name for name in names if METRICS.get(name).needs_reference]
    if needy and not has_reference:
        raise PlanError(f"{', '.join(needy)}: these compare with a clean version, give --reference")


@dataclass(frozen=True)
class Threshold:
    """A number that every row's score must reach.

    Args:
        column: a metric's name, perhaps with "_improvement".
        limit: worst score that passes.
    """

    column: str
    limit: float

    @classmethod
    def parse(cls, text: str) -> Threshold:
        """Return the threshold that a text like "pesq=2.5" says.

        Raises:
            PlanError: there is no such metric, or the limit is no number.
        """
        from audiotool.metrics.base import METRICS, metric_names

        column, _, number = (part.strip() for part in text.partition("="))
        try:
            limit = float(number)
        except ValueError:
            limit = math.nan
        if not math.isfinite(limit):
            raise PlanError(f"--fail-under {text}: say METRIC=NUMBER, as in pesq=2.5; once for each metric")
        try:
            members = metric_names([column.removesuffix(IMPROVEMENT)])
        except InputError as error:
            raise PlanError(f"--fail-under {text}: {error}") from error
        if members != [column.removesuffix(IMPROVEMENT)]:
            raise PlanError(f"--fail-under {text}: {column} is several metrics: {', '.join(members)}")
        if METRICS.get(members[0]).higher_is_better is None and column.endswith(IMPROVEMENT):
            raise PlanError(f"--fail-under {text}: more of {members[0]} is no improvement")
        return cls(column, limit)

    @property
    def metric(self) -> str:
        """Name of the metric without "_improvement"."""
        return self.column.removesuffix(IMPROVEMENT)

    def failure(self, row: Row) -> dict[str, Any] | None:
        """Return {"file", "metric", "value", "limit", "reason"} of a row that does not pass, None of one that
        does."""
        from audiotool.metrics.base import METRICS

        found = row.columns().get(self.column)
        value = None if found is None else found.value
        lower_is_better = METRICS.get(self.metric).higher_is_better is False
        if value is not None and (value <= self.limit if lower_is_better else value >= self.limit):
            return None
        if value is None:
            reason = f"no {self.column}: {'it was not measured' if found is None else found.reason}"
        else:
            reason = f"{self.column} {value:.4g} is {'above' if lower_is_better else 'below'} {self.limit:g}"
        return {
            "file": row.name,
            "metric": self.column,
            "value": value,
            "limit": self.limit,
            "reason": reason,
        }


def failures(rows: Sequence[Row], thresholds: Sequence[Threshold]) -> list[dict[str, Any]]:
    """Return the failures row by row, see `Threshold.failure`."""
    return [found for row in rows for t in thresholds if (found := t.failure(row)) is not None]
