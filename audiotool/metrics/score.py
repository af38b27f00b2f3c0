"""Score waveforms. What cannot be scored gets a reason, never an exception.

score(reference, estimate, 16000, ["pesq", "stoi"])["pesq"].value
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np

from audiotool.arrays import Array, in_full_scale, in_whole_hertz, values_of
from audiotool.errors import AudiotoolError, DependencyError, InputError
from audiotool.extras import explained
from audiotool.metrics.base import (
    METRICS,
    Both,
    Metric,
    NonIntrusiveMetric,
    NothingToMeasure,
    Pair,
    Unscorable,
    Waveform,
)
from audiotool.metrics.values import Value
from audiotool.signals import EndRequest
from audiotool.text import one_line

T = TypeVar("T")

OF_LIBRARIES = (ArithmeticError, ValueError, np.linalg.LinAlgError, RuntimeError)
"""Errors of libraries on unusual signals."""

LOST_SECONDS, LOST_SHARE = 0.1, 0.01
"""What an estimate may lack of its reference, see `shortfall`."""

logger = logging.getLogger(__name__)


class ChannelScores(NamedTuple):
    """Scores of a recording's channels together.

    Args:
        values: mean of each metric, or the reason why there is none.
        notes: which channels the means leave out, and why.
    """

    values: dict[str, Value]
    notes: list[str]


def score(
    reference: Array,
    estimate: Array,
    sample_rate: int,
    metrics: str | Sequence[str],
    edge_hz: float | None = None,
    interferers: Sequence[Array] = (),
) -> dict[str, Value]:
    """Score one estimate.

    Args:
        reference: (time,), floating point with a full scale of 1 or int16, numpy or torch.
        estimate: the same; the longer one is cut to the shorter, but no metric has a number of an estimate
            that lacks more than `shortfall` tolerates.
        sample_rate: Hz of both.
        metrics: names of metrics, or one name.
        edge_hz: highest frequency of the unprocessed input's content, None where it is not known.
        interferers: (time,) each: the other signals of the mixture.
    Raises:
        InputError: a metric is unknown, a waveform or an interferer is of another type or has more than one
            axis, or the sample rate is no whole number above 0.
    """
    found = [METRICS.get(name) for name in ([metrics] if isinstance(metrics, str) else metrics)]
    return measure_all(_pair(reference, estimate, sample_rate, edge_hz, interferers), found)


def _pair(
    reference: Array,
    estimate: Array,
    sample_rate: int,
    edge_hz: float | None,
    interferers: Sequence[Array],
) -> Pair:
    sample_rate = in_whole_hertz(sample_rate)
    waveforms = _waveforms((reference, estimate), "a waveform to score is")
    others = _waveforms(interferers, "interferers are a list of waveforms, each")
    length = min(map(len, waveforms))
    if len(waveforms[0]) != len(waveforms[1]):
        logger.info("lengths differ (%d and %d): the first %d samples count", *map(len, waveforms), length)
    others = [_of_length(w, length) for w in others]
    problem = shortfall(len(waveforms[1]), len(waveforms[0]), sample_rate)
    return Pair(waveforms[0][:length], waveforms[1][:length], sample_rate, edge_hz, others, problem)


def shortfall(own: int, others: int, sample_rate: int) -> str:
    """Return how an estimate of `own` samples fails a reference of `others`; "" if it does not.

    It may lack `LOST_SECONDS`, or `LOST_SHARE` of the reference if that is more: codecs and frames lose that
    at the ends. One that lacks more was broken off, and what is there may be good.
    """
    if others - own <= max(LOST_SECONDS * sample_rate, LOST_SHARE * others):
        return ""
    return f"breaks off after {own} samples, where the reference has {others}"


def _waveforms(arrays: Iterable[Array], expected: str) -> list[Waveform]:
    """Return users' arrays as samples (time,) float64; `expected` begins the message about others."""
    if not hasattr(arrays, "__iter__"):
        raise InputError(f"{expected} (time,), got {arrays!r}")
    waveforms = [in_full_scale(values_of(array), np.float64) for array in arrays]
    if any(w.ndim != 1 for w in waveforms):
        raise InputError(f"{expected} (time,), got shapes {[w.shape for w in waveforms]}")
    return waveforms


def measure_all(pair: Pair, metrics: Sequence[type[Metric]], of_several: bool = False) -> dict[str, Value]:
    """Score one pair; if there is nothing to compare, every metric has the reason.

    Args:
        of_several: whether it is one of several channels. There a silent estimate of sound is a channel that
            was lost, and no metric that compares has a number for it.
    """
    problem = _problem(pair)
    if problem:
        return {metric.name: Value(None, problem) for metric in metrics}
    is_lost = of_several and pair.facts[1].is_silent and not pair.facts[0].is_silent
    return {
        metric.name: Value(None, "the estimate is silent")
        if is_lost and not issubclass(metric, NonIntrusiveMetric)
        else measured(metric, partial(pair.measured, metric))
        for metric in metrics
    }


def score_channels(
    reference: Waveform,
    estimate: Waveform,
    sample_rate: int,
    metrics: Sequence[str],
    edge_hz: float | None = None,
    interferers: Sequence[Waveform] = (),
) -> ChannelScores:
    """Return the mean of the channels' scores, see `mean_of_channels`.

    Args:
        reference, estimate: (channels, time) with equal channels.
        edge_hz: as `score`.
        interferers: (channels, time) each.
    """
    found = [METRICS.get(name) for name in metrics]
    pairs = [
        _pair(r, e, sample_rate, edge_hz, [w[n] for w in interferers])
        for n, (r, e) in enumerate(zip(reference, estimate, strict=True))
    ]
    each = [measure_all(pair, found, len(pairs) > 1) for pair in pairs]
    return mean_of_channels(each, metrics)


def mean_of_channels(each: Sequence[Mapping[str, Value]], metrics: Sequence[str]) -> ChannelScores:
    """Return the mean of each metric over the channels.

    A channel whose reference holds nothing to measure, such as silence, is left out, with a note. Any other
    channel without a number makes the mean null: a channel that is dead in the estimate has not been kept.
    """
    values, left_out = {}, dict[tuple[int, str | None], list[str]]()
    for name in metrics:
        scores = {channel: found[name] for channel, found in enumerate(each, start=1)}
        lacking = {channel: value for channel, value in scores.items() if value.value is None}
        faults = {channel: value for channel, value in lacking.items() if not value.of_reference}
        if faults or len(lacking) == len(scores):
            channel, first = next(iter((faults or lacking).items()))
            alike = all(value.reason == first.reason for value in scores.values())
            reason = first.reason if alike else f"channel {channel}: {first.reason}"
            values[name] = Value(None, reason, of_reference=not faults)
            continue
        values[name] = Value(float(np.mean([v.value for v in scores.values() if v.value is not None])))
        for channel, value in lacking.items():
            left_out.setdefault((channel, value.reason), []).append(name)
    notes = [
        f"{', '.join(names)} without channel {channel}: {reason}"
        for (channel, reason), names in left_out.items()
    ]
    return ChannelScores(values, notes)


def measured(metric: type[Metric], measure: Callable[[], float]) -> Value:
    """Call a metric; return its number, or null with the reason why there is none."""
    found = attempted(metric, lambda: float(measure()))
    return found if isinstance(found, Value) else finite(found)


def attempted(metric: type[Metric], measure: Callable[[], T]) -> T | Value:
    """Call a metric; return its result, or null with the reason why there is none.

    An error of a library on an unusual signal makes a score null and stops nothing; so does any error of a
    metric of another package. A bug in a metric of this project is raised.
    """
    try:
        return measure()
    except (Unscorable, DependencyError) as error:
        return Value(None, str(error), isinstance(error, NothingToMeasure))
    except (AudiotoolError, EndRequest):
        # The file cannot be read, for example.
        raise
    except (Exception, SystemExit) as error:
        missing = explained(error, "the score") if isinstance(error, ImportError) else None
        if missing is not None:
            return Value(None, str(missing))
        reason = one_line(f"{type(error).__name__}: {error}")
        package = METRICS.package_of(metric.name)
        if package is not None:
            logger.debug("metric '%s' of package %s", metric.name, package, exc_info=True)
            return Value(None, f"metric '{metric.name}' of package {package} failed: {reason}")
        if not isinstance(error, OF_LIBRARIES):
            raise
        return Value(None, reason)


def finite(number: float) -> Value:
    """Return a number as a score; null if it is not finite."""
    return Value(number) if np.isfinite(number) else Value(None, "the result is not finite")


def _problem(pair: Pair) -> str | None:
    if not pair.facts[0].length:
        return "there are no samples to compare"
    if pair.problem:
        return f"the estimate {pair.problem}"
    for word, facts in zip(Both._fields, pair.facts, strict=True):
        if not facts.is_finite:
            return f"the {word} holds samples that are not finite"
    return None


def _of_length(waveform: Waveform, length: int) -> Waveform:
    """Return the first samples, followed by zeros if there are too few."""
    return np.pad(waveform[:length], (0, max(0, length - len(waveform))))
