"""What a metric gives: a number, or the reason why there is none, and numbers over time."""

from __future__ import annotations

import math
from typing import NamedTuple


class Value(NamedTuple):
    """A metric's result.

    Attributes:
        value: None when the pair cannot be scored.
        reason: why, when value is None.
        of_reference: whether the reason is that the reference holds nothing which the metric measures.
    """

    value: float | None
    reason: str | None = None
    of_reference: bool = False


class Curve(NamedTuple):
    """A metric over time.

    Args:
        step_s: seconds between values.
        values: None where there is none.
    """

    step_s: float
    values: tuple[float | None, ...]


class StemScore(NamedTuple):
    """A stem's score by a joint metric: one number, and its values over time."""

    value: float
    curve: Curve


def finite_number(number: float) -> float:
    """Return a number of a report from outside.

    Raises:
        ValueError: it is infinite or NaN, which no score is, and which JSON does not have.
    """
    if not math.isfinite(number):
        raise ValueError(f"{number} is no score")
    return float(number)
