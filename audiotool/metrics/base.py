"""What a metric is: a name, and one number for a reference and an estimate, or a reason why there is none."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeAlias

from audiotool.discovery import Catalogue
from audiotool.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Waveform: TypeAlias = "NDArray[Any]"
"""(time,) float; scored in float64."""

SILENCE = 1e-6
"""A waveform that never departs from its mean by more than this is silent: below the last bit of 20."""


@dataclass(frozen=True)
class Value:
    """A metric's result.

    Args:
        value: None when the pair cannot be scored.
        reason: why, when value is None.
    """

    value: float | None
    reason: str | None = None


class Unscorable(Exception):
    """Raised by a metric for a pair it has no number for; the message becomes the reason."""


class Both(NamedTuple):
    """A reference and an estimate of one rate and length."""

    reference: Waveform
    estimate: Waveform


@dataclass
class Pair:
    """A reference and an estimate, (time,) float64 of equal length, and their versions at other rates.

    Args:
        sample_rate: Hz of both.
        edge_hz: where the content of the unprocessed input ended, None where that is not known.
    """

    reference: Waveform
    estimate: Waveform
    sample_rate: int
    edge_hz: float | None = None
    _resampled: dict[int, Both] = field(default_factory=dict, repr=False)

    def at(self, sample_rate: int) -> Both:
        """Both waveforms at another rate, computed once."""
        if sample_rate == self.sample_rate:
            return Both(self.reference, self.estimate)
        if sample_rate not in self._resampled:
            import soxr

            self._resampled[sample_rate] = Both(
                *(soxr.resample(w, self.sample_rate, sample_rate) for w in (self.reference, self.estimate))
            )
        return self._resampled[sample_rate]

    def require_sound(self, estimate: bool = False) -> None:
        """Refuse a silent reference, and with `estimate` a silent estimate.

        Raises:
            Unscorable: which of them is silent.
        """
        if is_silent(self.reference):
            raise Unscorable("the reference is silent")
        if estimate and is_silent(self.estimate):
            raise Unscorable("the estimate is silent")


class Metric:
    """Base of all metrics.

    Class attributes:
        name: what reports and the command line call it.
        unit: of the number, "" for scores without one.
        higher_is_better: the direction of improvement.
    """

    name: ClassVar[str]
    unit: ClassVar[str] = ""
    higher_is_better: ClassVar[bool] = True

    def measure(self, pair: Pair) -> float:
        """Return the number.

        Raises:
            Unscorable: this pair has none.
        """
        raise TypeError(f"{type(self).__name__} does not measure anything")


METRICS: Catalogue[Metric] = Catalogue("audiotool.metrics", Metric, "metric", InputError)


def is_silent(waveform: Waveform) -> bool:
    """True when a waveform is empty or constant to within `SILENCE`."""
    return waveform.size == 0 or float(abs(waveform - waveform.mean()).max()) < SILENCE


def equal_parts(length: int, longest: int) -> list[slice]:
    """Cut a length into the fewest equal parts that are no longer than `longest`."""
    count = max(1, -(-length // longest))
    edges = [length * n // count for n in range(count + 1)]
    return [slice(a, b) for a, b in itertools.pairwise(edges)]
