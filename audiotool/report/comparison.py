"""Compare two systems on the files that both have: paired differences of their scores.

The interval is a percentile bootstrap over files: files are drawn with replacement, each with both of its
scores (Efron, Tibshirani, An Introduction to the Bootstrap, 1993; for such sets Bisani, Ney, ICASSP 2004).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from audiotool.metrics.rows import Row, numbers_of_both, of_one_file
from audiotool.report.scores import Measure, measures_of, of_one_band, rounded, signed

DRAWS = 5000
"""Number of means that the bootstrap draws."""
SEED = 0
"""Seed of the bootstrap: the same scores have the same interval."""
TAILS = (0.025, 0.975)
"""Shares of the drawn means below the ends of the 95 % interval."""
AT_ONCE = 1 << 20
"""Greatest number of differences that are drawn at a time."""

HEADINGS = ("metric", "files", "other", "this", "difference", "95 % interval", "wins", "losses")
"""Headings of `Comparison.lines`."""


@dataclass(frozen=True)
class PairedScores:
    """A metric's scores by two systems on the files for which both have a number.

    Args:
        n: number of these files.
        mean_other, mean: mean of the other system, and of this one.
        difference: mean of this system's scores minus the other's.
        interval_95: lower and upper end of the difference's 95 % interval; None for a single file.
        wins, losses: numbers of files that this system does better or worse, see `Measure.verdict`; None for
            a metric without a direction.
    """

    n: int
    mean_other: float
    mean: float
    difference: float
    interval_95: tuple[float, float] | None
    wins: int | None
    losses: int | None


@dataclass(frozen=True)
class Comparison:
    """Two systems on the same files.

    Args:
        against: path of the other system's report.
        files: number of files that both reports have.
        only_this, only_other: numbers of files that only one of them has.
        metrics: scores by name of the metric; those for which no file has two numbers are left out.
        two_bands: numbers of files that are left out of a metric, because one system's number is narrow-band
            and the other's wide-band.
    """

    against: str
    files: int
    only_this: int
    only_other: int
    metrics: Mapping[str, PairedScores]
    two_bands: Mapping[str, int] = field(default_factory=dict)

    @property
    def heading(self) -> str:
        """What is compared with what."""
        return f"This system against {self.against}"

    @property
    def remark(self) -> str:
        """The number of files, and what the columns mean."""
        alone = ((self.only_this, "only here"), (self.only_other, "only there"))
        counts = "".join(f", {count} {where}" for count, where in alone if count)
        left_out = ", ".join(f"{name} of {count}" for name, count in self.two_bands.items())
        bands = (
            f" Not compared, because one is narrow-band and one wide-band: {left_out}." if left_out else ""
        )
        return (
            f"{self.files} file{'' if self.files == 1 else 's'} in both reports{counts}.{bands}"
            f" Difference: this minus other; interval: paired bootstrap over files, {DRAWS} draws."
        )

    def lines(self) -> list[list[str]]:
        """Return a line a metric, as text; the columns are `HEADINGS`."""
        return [_line(Measure.of(name), scores) for name, scores in self.metrics.items()]


def compare(rows: Sequence[Row], others: Sequence[Row], against: str) -> Comparison:
    """Return the comparison of these rows with those of another system.

    Args:
        rows, others: one a file.
        against: path of the other system's report.
    """
    pairs = of_one_file(others, rows)
    metrics = {
        measure.name: _paired(measure, np.array(numbers))
        for measure in measures_of(rows)
        if (numbers := numbers_of_both(of_one_band(pairs, measure), measure.name))
    }
    two_bands = {
        measure.name: len(pairs) - len(alike)
        for measure in measures_of(rows)
        if len(alike := of_one_band(pairs, measure)) < len(pairs)
    }
    return Comparison(
        against, len(pairs), len(rows) - len(pairs), len(others) - len(pairs), metrics, two_bands
    )


def bootstrap_interval(differences: NDArray[np.float64]) -> tuple[float, float] | None:
    """Return the ends of the interval of a mean; None for a single value."""
    count = len(differences)
    if count < 2:
        return None
    generator = np.random.default_rng(SEED)
    at_once = max(1, AT_ONCE // count)
    means = np.concatenate(
        [
            differences[generator.integers(count, size=(min(at_once, DRAWS - first), count))].mean(1)
            for first in range(0, DRAWS, at_once)
        ]
    )
    low, high = np.quantile(means, TAILS)
    return float(low), float(high)


def _paired(measure: Measure, numbers: NDArray[np.float64]) -> PairedScores:
    """Return what is known of a metric's numbers, (files, 2): the other system's and this one's."""
    differences = numbers[:, 1] - numbers[:, 0]
    verdicts = [measure.verdict(float(difference)) for difference in differences]
    has_direction = measure.higher_is_better is not None
    return PairedScores(
        n=len(numbers),
        mean_other=float(numbers[:, 0].mean()),
        mean=float(numbers[:, 1].mean()),
        difference=float(differences.mean()),
        interval_95=bootstrap_interval(differences),
        wins=verdicts.count("better") if has_direction else None,
        losses=verdicts.count("worse") if has_direction else None,
    )


def _line(measure: Measure, scores: PairedScores) -> list[str]:
    ends = scores.interval_95
    return [
        measure.heading,
        str(scores.n),
        rounded(scores.mean_other),
        rounded(scores.mean),
        signed(scores.difference),
        "" if ends is None else f"{signed(ends[0])} to {signed(ends[1])}",
        *("" if count is None else str(count) for count in (scores.wins, scores.losses)),
    ]
