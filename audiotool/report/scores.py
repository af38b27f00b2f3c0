"""The display of a metric on pages and plots: its heading, its numbers, and which of two scores is better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from audiotool.errors import InputError
from audiotool.metrics.base import METRICS
from audiotool.metrics.pesq import WIDE_BAND_RATE
from audiotool.metrics.rows import REFERENCE_RATE, Row, number_of

DECIMALS = 3
"""Number of decimals of a score in tables, so that the decimal points of a column stand below each other."""
SAME = 5e-4
"""Changes below this count as none: so many decimals do not show them."""


@dataclass(frozen=True)
class Measure:
    """A metric, for display.

    Args:
        name: name in reports.
        unit: unit of the number; "" without one.
        higher_is_better: the direction of improvement; None where there is none.
        has_narrow_band: whether recordings below 16 kHz have numbers on a scale of their own.
    """

    name: str
    unit: str = ""
    higher_is_better: bool | None = True
    has_narrow_band: bool = False

    @classmethod
    def of(cls, name: str) -> Measure:
        """Return the metric of a name. For one that is not installed here, higher is better."""
        try:
            found = METRICS.get(name)
        except InputError:
            return cls(name)
        return cls(name, found.unit, found.higher_is_better, found.has_narrow_band)

    @property
    def title(self) -> str:
        """Its name and the direction of improvement: "si_sdr ↑"."""
        return self.name + {True: " ↑", False: " ↓", None: ""}[self.higher_is_better]

    @property
    def heading(self) -> str:
        """The heading of its column: "si_sdr ↑ dB"."""
        return f"{self.title} {self.unit}".rstrip()

    def verdict(self, change: float | None) -> str:
        """Return "better", "worse" or "same"."""
        if change is None or self.higher_is_better is None or abs(change) < SAME:
            return "same"
        return "better" if (change > 0) == self.higher_is_better else "worse"


def rounded(number: float, decimals: int = DECIMALS) -> str:
    """Return a score as text."""
    return f"{_unsigned_zero(number, decimals):.{decimals}f}"


def signed(change: float, decimals: int = DECIMALS) -> str:
    """Return the change of a score as text, with its sign."""
    return f"{_unsigned_zero(change, decimals):+.{decimals}f}"


def _unsigned_zero(number: float, decimals: int) -> float:
    return round(number, decimals) + 0.0  # there is no -0.000


def mixed_bands(rows: Sequence[Row]) -> str:
    """Return the remark that means are over narrow-band and wide-band numbers; "" where none is."""
    measures = [measure for measure in measures_of(rows) if measure.has_narrow_band]
    mixed = [measure.name for measure in measures if len(_bands(rows, measure.name)) == 2]
    said = "the mean is over narrow-band and wide-band numbers, which have different scales"
    return f"{', '.join(mixed)}: {said}" if mixed else ""


def _bands(rows: Sequence[Row], metric: str) -> set[bool]:
    """Return whether the numbers of a metric are wide-band: both, where there are some of either band."""
    rates = (row.facts.get(REFERENCE_RATE) for row in rows if number_of(row.values, metric) is not None)
    return {rate >= WIDE_BAND_RATE for rate in rates if isinstance(rate, int)}


def of_one_band(pairs: Sequence[tuple[Row, Row]], measure: Measure) -> list[tuple[Row, Row]]:
    """Return the pairs of rows of two systems whose numbers of a metric are not of different bands."""
    if not measure.has_narrow_band:
        return list(pairs)
    return [pair for pair in pairs if len(_bands(pair, measure.name)) < 2]


def measures_of(rows: Sequence[Row]) -> list[Measure]:
    """Return the metrics of the rows, in their order."""
    return [Measure.of(name) for name in dict.fromkeys(name for row in rows for name in row.values)]
