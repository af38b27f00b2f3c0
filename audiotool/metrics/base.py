"""The base classes of metrics, and the signals that they measure.

A metric has a number for an estimate and its reference, or a reason why there is none. A non-intrusive metric
rates a recording without a reference.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeAlias, TypeVar

from audiotool.discovery import Catalogue
from audiotool.errors import InputError
from audiotool.extras import require
from audiotool.metrics.values import StemScore

if TYPE_CHECKING:
    from numpy.typing import NDArray

T = TypeVar("T")

Waveform: TypeAlias = "NDArray[Any]"
"""Samples (time,), scored in float64."""

BLOCK = 1 << 18
"""Number of samples of a recording that are read at a time."""

SILENCE = 1e-6
"""Greatest difference from the mean of a waveform that counts as silent: below the last of 20 bits."""


class Unscorable(Exception):
    """Raised by a metric that has no number for a pair; the message becomes the reason."""


class NothingToMeasure(Unscorable):
    """Raised where the reference holds nothing which the metric measures, whatever the estimate is."""


class Results:
    """Intermediate results that several metrics of one pair share, computed once."""

    def __init__(self) -> None:
        self._found: dict[Any, Any] = {}

    def of(self, key: Any, measure: Callable[[], T]) -> T:
        """Return the result of a key, which is computed at the first call; an `Unscorable` is kept too."""
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
    """A recording for non-intrusive metrics, which can be read several times, in constant memory.

    Args:
        read: function that returns the blocks, (channels, any time) float.
        sample_rate: Hz.
        channels: number of rows of every block.
        results: intermediate results that metrics of one family share.
    """

    read: Callable[[], Iterator[Waveform]]
    sample_rate: int
    channels: int
    results: Results = field(default_factory=Results, repr=False)

    @classmethod
    def of(cls, waveform: Waveform, sample_rate: int) -> Recording:
        """Return a recording of samples in memory, (time,) or (channels, time)."""
        rows = waveform.reshape(-1, waveform.shape[-1])
        starts = range(0, rows.shape[1], BLOCK)
        return cls(lambda: (rows[:, n : n + BLOCK] for n in starts), sample_rate, len(rows))

    def blocks(self, sample_rate: int) -> Iterator[Waveform]:
        """Return its blocks, float32, at a sample rate in Hz."""
        from audiotool.streaming.resample import StreamingResampler

        resampler = StreamingResampler(self.sample_rate, sample_rate, self.channels)
        for block in self.read():
            yield resampler.feed(block.astype("float32", copy=False))
        yield resampler.flush()

    @cached_property
    def silent(self) -> list[int]:
        """The channels, counted from 0, of which every sample is 0."""
        import numpy as np

        peaks = np.zeros(self.channels)
        for block in self.read():
            peaks = np.maximum(peaks, abs(block).max(axis=1, initial=0))
        return np.flatnonzero(peaks == 0).tolist()

    def heard(self, sample_rate: int) -> Iterator[Waveform]:
        """Return the blocks, as `blocks`, of the channels that are not silent.

        Raises:
            Unscorable: all are.
        """
        heard = [n for n in range(self.channels) if n not in self.silent]
        if not heard:
            raise Unscorable("the recording is silent")
        return (block[heard] for block in self.blocks(sample_rate))


class Both(NamedTuple):
    """A reference and an estimate, or a block of them, of the same sample rate and length."""

    reference: Waveform
    estimate: Waveform


class Facts(NamedTuple):
    """Facts of one waveform.

    Args:
        length: number of samples.
        mean: mean of the samples.
        is_finite: whether every sample is finite.
        is_silent: whether it is constant to within `SILENCE`; True without samples.
    """

    length: int
    mean: float
    is_finite: bool
    is_silent: bool


class Pair:
    """A reference and an estimate, (time,) float64 of equal length, and their versions at other rates.

    A metric that reads `blocks` or `windows` takes constant memory for a pair that is read from files. One
    that asks for `reference`, `estimate` or `at` has them in memory.

    Args:
        reference, estimate: (time,) float64 of equal length.
        sample_rate: Hz of both.
        edge_hz: highest frequency of the unprocessed input's content; None where it is not known.
        interferers: (time,) each: the other signals of the mixture, speakers or noise.
        problem: what is wrong with the estimate, so that the two cannot be compared; "" for nothing.
    """

    def __init__(
        self,
        reference: Waveform,
        estimate: Waveform,
        sample_rate: int,
        edge_hz: float | None = None,
        interferers: Sequence[Waveform] = (),
        problem: str = "",
    ) -> None:
        self.problem = problem
        self.sample_rate = sample_rate
        self.edge_hz = edge_hz
        self.interferers = interferers
        self.results = Results()
        self._read: Callable[[], Iterator[Both]] | None = None
        self._whole = {sample_rate: Both(reference, estimate)}

    @classmethod
    def of_blocks(
        cls, read: Callable[[], Iterator[Both]], sample_rate: int, edge_hz: float | None = None
    ) -> Pair:
        """Return a pair that is read a block at a time.

        Args:
            read: function that returns the blocks from the beginning; it is called several times.
        """
        import numpy as np

        empty = np.zeros(0)
        pair = cls(empty, empty, sample_rate, edge_hz)
        pair._read, pair._whole = read, {}
        return pair

    @property
    def reference(self) -> Waveform:
        """The whole reference, (time,)."""
        return self.at(self.sample_rate).reference

    @property
    def estimate(self) -> Waveform:
        """The whole estimate, (time,)."""
        return self.at(self.sample_rate).estimate

    def at(self, sample_rate: int) -> Both:
        """Return both whole waveforms at a sample rate in Hz, computed once."""
        import numpy as np

        if sample_rate not in self._whole:
            parts = list(self.blocks(sample_rate)) or [Both(np.zeros(0), np.zeros(0))]
            self._whole[sample_rate] = Both(*(np.concatenate(side) for side in zip(*parts, strict=True)))
        return self._whole[sample_rate]

    def blocks(self, sample_rate: int | None = None) -> Iterator[Both]:
        """Yield both waveforms in blocks of at least one sample.

        Args:
            sample_rate: Hz; None is that of the pair.
        """
        rate = sample_rate or self.sample_rate
        if rate in self._whole:
            whole = self._whole[rate]
            for start in range(0, len(whole.reference), BLOCK):
                yield Both(*(side[start : start + BLOCK] for side in whole))
        elif rate == self.sample_rate:
            assert self._read is not None
            yield from (both for both in self._read() if len(both.reference))
        else:
            yield from _resampled(self.blocks(), self.sample_rate, rate)

    def length(self, sample_rate: int | None = None) -> int:
        """Return the number of samples at a sample rate in Hz; None is that of the pair."""
        rate = sample_rate or self.sample_rate
        if rate in self._whole:
            return len(self._whole[rate].reference)
        return self.results.of(
            f"length at {rate}", lambda: sum(len(both.reference) for both in self.blocks(rate))
        )

    def windows(self, sample_rate: int, longest: int) -> Iterator[tuple[slice, Both]]:
        """Yield the fewest equal parts of at most `longest` samples, each with its place."""
        import numpy as np

        blocks = self.blocks(sample_rate)
        held = Both(np.zeros(0), np.zeros(0))
        for part in equal_parts(self.length(sample_rate), longest):
            size = part.stop - part.start
            parts = [held]
            while sum(len(both.reference) for both in parts) < size:
                parts.append(next(blocks))
            joined = [np.concatenate(side) for side in zip(*parts, strict=True)]
            held = Both(*(side[size:] for side in joined))
            yield part, Both(*(side[:size] for side in joined))

    @cached_property
    def facts(self) -> tuple[Facts, Facts]:
        """Facts of the reference and of the estimate."""
        import numpy as np

        length, sums = 0, np.zeros(2)
        lows, highs = np.full(2, np.inf), np.full(2, -np.inf)
        for both in self.blocks():
            length += len(both.reference)
            sums += [side.sum() for side in both]
            lows = np.minimum(lows, [side.min() for side in both])
            highs = np.maximum(highs, [side.max() for side in both])
        first, second = (_facts(length, *found) for found in zip(sums, lows, highs, strict=True))
        return first, second

    def measured(self, metric: type[Metric]) -> float:
        """Return the number of a metric for this pair, computed once.

        Raises:
            Unscorable: the metric has none.
        """
        return self.results.of(metric.name, lambda: metric().measure(self))

    def require_sound(self, estimate: bool = False) -> None:
        """Check that the reference is not silent, and with `estimate` the estimate.

        Raises:
            NothingToMeasure: the reference is silent.
            Unscorable: the estimate is silent, or a single sample is compared.
        """
        if self.facts[0].length == 1:
            raise Unscorable("a single sample is compared")
        if self.facts[0].is_silent:
            raise NothingToMeasure("the reference is silent")
        if estimate and self.facts[1].is_silent:
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
    """Base class of all metrics.

    Class attributes:
        name: name in reports and on the command line.
        family: common name of several metrics, "" for a single one.
        unit: unit of the number, "" for scores without one.
        higher_is_better: the direction of improvement; None where there is none.
        needs_reference: False for metrics of an estimate alone, see `NonIntrusiveMetric`.
        uses_interferers: whether the metric needs `Pair.interferers`.
        uses_edge: whether the metric needs `Pair.edge_hz`.
        has_narrow_band: whether recordings below 16 kHz are measured at 8 kHz, on a scale of their own.
        needs: optional modules that it imports for every file.
        rates: sample rates in Hz of its own, () for any: recordings of others are resampled, by soxr.
    """

    name: ClassVar[str]
    family: ClassVar[str] = ""
    unit: ClassVar[str] = ""
    higher_is_better: ClassVar[bool | None] = True
    needs_reference: ClassVar[bool] = True
    uses_interferers: ClassVar[bool] = False
    uses_edge: ClassVar[bool] = False
    has_narrow_band: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ()
    rates: ClassVar[tuple[int, ...]] = ()

    @classmethod
    def check(cls) -> None:
        """Check that everything is installed that the metric needs for every file.

        Raises:
            DependencyError: something is missing; the message says how to install it.
        """
        require(cls.needs, cls.family or cls.name)

    def measure(self, pair: Pair) -> float:
        """Return the number.

        Raises:
            Unscorable: there is none for this pair.
        """
        raise TypeError(f"{type(self).__name__} does not measure anything")


class NonIntrusiveMetric(Metric):
    """Base class of metrics that need no reference.

    Class attributes:
        rates_channels: whether the number is the mean of those of the channels that are heard, see
            `Recording.heard`.
    """

    needs_reference = False
    rates_channels: ClassVar[bool] = False

    def rate(self, recording: Recording) -> float:
        """Return the number.

        Raises:
            Unscorable: there is none for this recording.
        """
        raise TypeError(f"{type(self).__name__} does not rate anything")

    def measure(self, pair: Pair) -> float:
        """Return the number of the estimate."""
        recording = pair.results.of(Recording, lambda: Recording.of(pair.estimate, pair.sample_rate))
        return self.rate(recording)


class JointMetric(Metric):
    """Base class of metrics that score all stems of a mixture together."""

    def rate(self, mixture: Mixture) -> list[StemScore]:
        """Return a score of each stem.

        Raises:
            Unscorable: there is none for this mixture.
        """
        raise TypeError(f"{type(self).__name__} does not rate anything")

    def measure(self, pair: Pair) -> float:
        raise Unscorable("rates all stems of a mixture together: evaluate --task separate")


METRICS: Catalogue[Metric] = Catalogue("audiotool.metrics", Metric, "metric", InputError)


def metric_names(asked: Sequence[str]) -> list[str]:
    """Expand names of metrics and of families ("dnsmos") to names of metrics, in order and without repeats.

    Raises:
        InputError: no metric and no family has that name; the message lists the nearest and all.
    """
    names: list[str] = []
    for name in asked:
        members = [] if name in METRICS else [m.name for m in METRICS.all().values() if m.family == name]
        names += members or [METRICS.get(name).name]
    return list(dict.fromkeys(names))


def is_silent(waveform: Waveform) -> bool:
    """Return whether a waveform is empty or constant to within `SILENCE`."""
    return waveform.size == 0 or float(abs(waveform - waveform.mean()).max()) < SILENCE


def equal_parts(length: int, longest: int) -> list[slice]:
    """Cut a length into the fewest equal parts that are no longer than `longest`."""
    count = max(1, -(-length // longest))
    edges = [length * n // count for n in range(count + 1)]
    return [slice(a, b) for a, b in itertools.pairwise(edges)]


def _facts(length: int, total: float, low: float, high: float) -> Facts:
    if not length:
        return Facts(0, 0.0, True, True)
    mean = float(total) / length
    is_finite = math.isfinite(low) and math.isfinite(high)
    return Facts(length, mean, is_finite, is_finite and max(high - mean, mean - low) < SILENCE)


def _resampled(blocks: Iterator[Both], sample_rate: int, wanted: int) -> Iterator[Both]:
    """Yield blocks at another sample rate in Hz: the samples that `soxr.resample` gives of the whole."""
    import numpy as np

    require("soxr", f"scoring recordings of {sample_rate} Hz at {wanted} Hz")
    import soxr

    streams = [soxr.ResampleStream(sample_rate, wanted, 1, dtype="float64") for _ in Both._fields]
    last = Both(np.zeros(0), np.zeros(0))
    for both, is_last in itertools.chain(((both, False) for both in blocks), [(last, True)]):
        found = Both(
            *(stream.resample_chunk(side, last=is_last) for stream, side in zip(streams, both, strict=True))
        )
        if len(found.reference):
            yield found
