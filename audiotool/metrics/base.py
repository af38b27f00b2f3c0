"""What a metric is: a name, and one number for an estimate and its reference, or a reason why there is none.

A non-intrusive metric needs no reference: it rates a recording, which it reads block by block.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeAlias, TypeVar

from audiotool.discovery import Catalogue
from audiotool.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

T = TypeVar("T")

Waveform: TypeAlias = "NDArray[Any]"
"""(time,) float; scored in float64."""

BLOCK = 1 << 18
"""Samples that a recording is read by."""

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


class Curve(NamedTuple):
    """A metric over time.

    Args:
        step_s: seconds between values.
        values: None where there is none.
    """

    step_s: float
    values: tuple[float | None, ...]


class StemScore(NamedTuple):
    """What a joint metric says of one stem: in one number, and over time."""

    value: float
    curve: Curve


class Unscorable(Exception):
    """Raised by a metric for a pair it has no number for; the message becomes the reason."""


class Both(NamedTuple):
    """A reference and an estimate of one rate and length."""

    reference: Waveform
    estimate: Waveform


class Results:
    """What several metrics of one thing share, measured once."""

    def __init__(self) -> None:
        self._found: dict[Any, Any] = {}

    def of(self, key: Any, measure: Callable[[], T]) -> T:
        """The result of a key, measured when it is asked first; an `Unscorable` is kept, too."""
        if key not in self._found:
            try:
                self._found[key] = measure()
            except Unscorable as error:
                self._found[key] = error
        if isinstance(self._found[key], Unscorable):
            raise self._found[key]
        found: T = self._found[key]
        return found


@dataclass
class Recording:
    """What is rated by itself: read from its beginning as often as it is asked for, in constant memory.

    Args:
        read: gives the blocks, (channels, any time) float.
        sample_rate: Hz.
        channels: rows of every block.
        results: what metrics of one family share.
    """

    read: Callable[[], Iterator[Waveform]]
    sample_rate: int
    channels: int
    results: Results = field(default_factory=Results, repr=False)

    @classmethod
    def of(cls, waveform: Waveform, sample_rate: int) -> Recording:
        """A recording of samples in memory, (time,) or (channels, time)."""
        rows = waveform.reshape(-1, waveform.shape[-1])
        starts = range(0, rows.shape[1], BLOCK)
        return cls(lambda: (rows[:, n : n + BLOCK] for n in starts), sample_rate, len(rows))

    def blocks(self, sample_rate: int) -> Iterator[Waveform]:
        """Its blocks, float32, at a rate."""
        from audiotool.streaming.resample import StreamingResampler

        resampler = StreamingResampler(self.sample_rate, sample_rate, self.channels)
        for block in self.read():
            yield resampler.feed(block.astype("float32", copy=False))
        yield resampler.flush()


@dataclass
class Pair:
    """A reference and an estimate, (time,) float64 of equal length, and their versions at other rates.

    Args:
        sample_rate: Hz of both.
        edge_hz: where the content of the unprocessed input ended, None where that is not known.
        interferers: (time,) each: what else was heard with the reference, other speakers or the noise.
    """

    reference: Waveform
    estimate: Waveform
    sample_rate: int
    edge_hz: float | None = None
    interferers: Sequence[Waveform] = ()
    results: Results = field(default_factory=Results, repr=False)
    _resampled: dict[int, Both] = field(default_factory=dict, repr=False)

    def measured(self, metric: type[Metric]) -> float:
        """A metric of this pair, measured once.

        Raises:
            Unscorable: it has none.
        """
        return self.results.of(metric.name, lambda: metric().measure(self))

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


@dataclass
class Mixture:
    """All stems of a mixture: references and their estimates, (stems, time) float64, in one order.

    Args:
        sample_rate: Hz.
    """

    references: Waveform
    estimates: Waveform
    sample_rate: int
    results: Results = field(default_factory=Results, repr=False)


class Metric:
    """Base of all metrics.

    Class attributes:
        name: what reports and the command line call it.
        family: a name for several metrics together, "" for one that stands alone.
        unit: of the number, "" for scores without one.
        higher_is_better: the direction of improvement; None where there is none.
        needs_reference: False for what rates an estimate by itself, see `NonIntrusiveMetric`.
        uses_interferers: whether it asks for `Pair.interferers`.
        uses_edge: whether it asks for `Pair.edge_hz`.
    """

    name: ClassVar[str]
    family: ClassVar[str] = ""
    unit: ClassVar[str] = ""
    higher_is_better: ClassVar[bool | None] = True
    needs_reference: ClassVar[bool] = True
    uses_interferers: ClassVar[bool] = False
    uses_edge: ClassVar[bool] = False

    @classmethod
    def check(cls) -> None:
        """Refuse to begin where something is missing that no file can do without.

        Raises:
            DependencyError: what, and how to get it.
        """

    def measure(self, pair: Pair) -> float:
        """Return the number.

        Raises:
            Unscorable: this pair has none.
        """
        raise TypeError(f"{type(self).__name__} does not measure anything")


class NonIntrusiveMetric(Metric):
    """Base of metrics that need no reference."""

    needs_reference = False

    def rate(self, recording: Recording) -> float:
        """Return the number.

        Raises:
            Unscorable: this recording has none.
        """
        raise TypeError(f"{type(self).__name__} does not rate anything")

    def measure(self, pair: Pair) -> float:
        """That of the estimate."""
        recording = pair.results.of(Recording, lambda: Recording.of(pair.estimate, pair.sample_rate))
        return self.rate(recording)


class JointMetric(Metric):
    """Base of metrics that rate all stems of a mixture together."""

    def rate(self, mixture: Mixture) -> list[StemScore]:
        """Return a score of each stem.

        Raises:
            Unscorable: this mixture has none.
        """
        raise TypeError(f"{type(self).__name__} does not rate anything")

    def measure(self, pair: Pair) -> float:
        raise Unscorable("rates all stems of a mixture together: evaluate --task separate")


METRICS: Catalogue[Metric] = Catalogue("audiotool.metrics", Metric, "metric", InputError)


def metric_names(asked: Sequence[str]) -> list[str]:
    """Names of metrics for names of metrics and of families ("dnsmos"), in order and without repeats.

    Raises:
        InputError: no metric and no family has that name; the message lists the nearest and all.
    """
    names: list[str] = []
    for name in asked:
        members = [] if name in METRICS else [m.name for m in METRICS.all().values() if m.family == name]
        names += members or [METRICS.get(name).name]
    return list(dict.fromkeys(names))


def is_silent(waveform: Waveform) -> bool:
    """True when a waveform is empty or constant to within `SILENCE`."""
    return waveform.size == 0 or float(abs(waveform - waveform.mean()).max()) < SILENCE


def equal_parts(length: int, longest: int) -> list[slice]:
    """Cut a length into the fewest equal parts that are no longer than `longest`."""
    count = max(1, -(-length // longest))
    edges = [length * n // count for n in range(count + 1)]
    return [slice(a, b) for a, b in itertools.pairwise(edges)]
