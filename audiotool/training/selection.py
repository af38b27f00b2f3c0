"""The choice of the best validation, whose weights are exported as `<name>-best.safetensors`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from audiotool.metrics.base import METRICS
from audiotool.recipe.names import validated_metrics
from audiotool.recipe.schema import Recipe
from audiotool.tasks.base import TASKS
from audiotool.training.records import METRIC, SET
from audiotool.training.validation import UNSCORED

Row = dict[str, str]
"""A row of valid.csv."""


@dataclass(frozen=True)
class Selection:
    """What chooses the best of a run's validations.

    Args:
        fixed_set: name of the set on which they are made; "" for a run that makes none.
        metric: "loss" or the name of a metric.
        upwards: whether more of it is better.
    """

    fixed_set: str
    metric: str
    upwards: bool

    @classmethod
    def of(cls, recipe: Recipe, fixed_set: str) -> Selection:
        """Return the selection of a recipe: its metric, else its task's, else the loss."""
        metric = recipe.validation.metric
        if metric is None:
            best = TASKS.get(recipe.task).scoring.best
            metric = best if best in validated_metrics(recipe) else "loss"
        upwards = metric != "loss" and METRICS.get(metric).higher_is_better is not False
        return cls(fixed_set, metric, upwards)

    def outdated(self, rows: Sequence[Row], column: str) -> int:
        """Return the number of rows up to the last with another set (column `SET`) or metric (`METRIC`).

        Rows of earlier versions name none. A run that validates no more has the set of its last validation.
        """
        current = self.fixed_set if column == SET else self.metric
        current = current or next((row[column] for row in reversed(rows) if row.get(column)), "")
        alike = takewhile(lambda row: row.get(column) in (None, "", current), reversed(rows))
        return len(rows) - sum(1 for _ in alike)

    def best(self, rows: Sequence[Row]) -> tuple[int, str, float] | None:
        """Return step, metric and value of the best row since the set or the metric has changed, if any.

        The best of the rows before was exported, and may be gone. The loss counts where no validation has the
        metric. A validation with recordings that could not be scored comes behind those with fewer: their
        mean leaves out what its weights did worst.
        """
        rows = rows[max(self.outdated(rows, SET), self.outdated(rows, METRIC)) :]
        name, upwards = self.metric, self.upwards
        if not any(row.get(name) for row in rows):
            name, upwards = "loss", False
        scored = [row for row in rows if row.get(name)]

        def rank(row: Row) -> tuple[float, float]:
            value = float(row[name])
            return -float(row.get(f"{name}{UNSCORED}") or 0), value if upwards else -value

        best = max(scored, key=rank, default=None)
        return None if best is None else (int(best["step"]), name, float(best[name]))
