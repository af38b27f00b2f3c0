"""Score pairs of waveforms, files and folders. What cannot be scored gets a reason, never an exception.

score(reference, estimate, 16000, ["pesq", "stoi"])["pesq"].value
rows = score_files(pair_files(Path("clean"), Path("enhanced")), ["pesq", "stoi"], jobs=4)   # of `pairing`
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from audiotool.audio.mono import to_mono
from audiotool.audio.reader import AudioReader, probe, read
from audiotool.cores import core_count
from audiotool.errors import AudiotoolError, DependencyError, InputError
from audiotool.extras import explained
from audiotool.metrics.base import (
    BLOCK,
    METRICS,
    JointMetric,
    Metric,
    Mixture,
    NonIntrusiveMetric,
    Pair,
    Recording,
    StemScore,
    Unscorable,
    Value,
    Waveform,
)
from audiotool.metrics.child import close_children
from audiotool.metrics.pairing import FilePair
from audiotool.metrics.pesq import WIDE_BAND_RATE
from audiotool.metrics.rows import Row
from audiotool.signals import end, leave_to_parent
from audiotool.version import __version__

T = TypeVar("T")

logger = logging.getLogger(__name__)

PATIENCE = 2.0
"""Seconds that terminated processes have for ending those of PESQ."""


def score(
    reference: Waveform,
    estimate: Waveform,
    sample_rate: int,
    metrics: Sequence[str],
    edge_hz: float | None = None,
    interferers: Sequence[Waveform] = (),
) -> dict[str, Value]:
    """Score one estimate.

    Args:
        reference, estimate: (time,) float; the longer one is cut to the shorter.
        sample_rate: Hz of both.
        metrics: names, see `METRICS`.
        edge_hz: where the content of the unprocessed input ended, None where that is not known.
        interferers: (time,) each: what else was heard with the reference.
    Raises:
        InputError: a metric is unknown, or a waveform has more than one axis.
    """
    found = [METRICS.get(name) for name in metrics]
    waveforms = [np.asarray(w, dtype=np.float64) for w in (reference, estimate)]
    if any(w.ndim != 1 for w in waveforms):
        raise InputError(f"a waveform to score is (time,), got shapes {[w.shape for w in waveforms]}")
    length = min(map(len, waveforms))
    if len(waveforms[0]) != len(waveforms[1]):
        logger.info("lengths differ (%d and %d): the first %d samples count", *map(len, waveforms), length)
    others = [_of_length(np.asarray(w, dtype=np.float64), length) for w in interferers]
    pair = Pair(waveforms[0][:length], waveforms[1][:length], sample_rate, edge_hz, others)
    problem = _problem(pair)
    if problem:
        return {name: Value(None, problem) for name in metrics}
    return {metric.name: _measured(partial(pair.measured, metric)) for metric in found}


def score_channels(
    reference: Waveform,
    estimate: Waveform,
    sample_rate: int,
    metrics: Sequence[str],
    edge_hz: float | None = None,
    interferers: Sequence[Waveform] = (),
) -> dict[str, Value]:
    """Mean of the channels' scores; null with the first reason when no channel can be scored.

    Args:
        reference, estimate: (channels, time) with equal channels.
        edge_hz: as `score`.
        interferers: (channels, time) each.
    """
    each = [
        score(r, e, sample_rate, metrics, edge_hz, [w[n] for w in interferers])
        for n, (r, e) in enumerate(zip(reference, estimate, strict=True))
    ]
    result = {}
    for name in metrics:
        numbers = [v for scores in each if (v := scores[name].value) is not None]
        result[name] = Value(float(np.mean(numbers))) if numbers else each[0][name]
    return result


def score_stems(stems: Sequence[FilePair], metrics: Sequence[str]) -> list[Row]:
    """Score the pairs of one mixture, a row each; a file that cannot be read gives a row of reasons."""
    joint = [name for name in metrics if issubclass(METRICS.get(name), JointMetric)]
    rows = [_score_alone(files, [name for name in metrics if name not in joint]) for files in stems]
    if joint:
        _score_together(stems, joint, rows)
    for row in rows:
        row.values = {name: row.values[name] for name in metrics}
    return rows


def score_pair(files: FilePair, metrics: Sequence[str]) -> Row:
    """Score one pair of files by itself, as `score_stems`."""
    return score_stems([files], metrics)[0]


def _score_alone(files: FilePair, metrics: Sequence[str]) -> Row:
    began = time.monotonic()
    row = Row(files.name, facts=_places(files))
    compared = [name for name in metrics if METRICS.get(name).needs_reference]
    rated = [name for name in metrics if name not in compared]
    try:
        if files.reference is None:
            row.values = {name: Value(None, "there is no reference") for name in compared}
        elif compared:
            _compare(files, files.reference, compared, row)
        if rated:
            row.values |= rate_file(files.estimate, rated)
            row.baseline |= {} if files.noisy is None else rate_file(files.noisy, rated)
    except AudiotoolError as error:
        row.failed = True
        row.facts["status"] = "failed"
        row.values = {name: row.values.get(name, Value(None, str(error))) for name in metrics}
        if files.noisy is not None:
            row.baseline = {name: Value(None, str(error)) for name in metrics}
    row.facts["elapsed_seconds"] = round(time.monotonic() - began, 3)
    return row


def _score_together(stems: Sequence[FilePair], metrics: Sequence[str], rows: Sequence[Row]) -> None:
    """Scores of all stems of a mixture by joint metrics, into their rows."""
    reason = "rates all stems of a mixture together, two at least: evaluate --task separate"
    mixture = None
    if any(files.reference is None for files in stems):
        reason = "there is no reference"
    elif len(stems) > 1:
        try:
            mixture = _mixture(stems, rows)
        except AudiotoolError as error:
            reason = str(error)
            for row in rows:
                row.failed, row.facts["status"] = True, "failed"
    for name in metrics:
        metric = METRICS.get(name)
        assert issubclass(metric, JointMetric)
        found: list[StemScore] | None = None
        if mixture is not None:
            found, reason = _attempted(partial(metric().rate, mixture))
        for n, row in enumerate(rows):
            row.values[name] = Value(None, reason) if found is None else _finite(found[n].value)
            if found is not None:
                row.curves[name] = found[n].curve


def _mixture(stems: Sequence[FilePair], rows: Sequence[Row]) -> Mixture:
    """All stems of a mixture, which have references, at the first one's rate; differences become notes.

    Raises:
        InputError: a file cannot be read, or has other channels than the first.
    """
    pairs = [(files.reference, files.estimate) for files in stems if files.reference is not None]
    first, rate = read(pairs[0][0])
    sides: list[list[Waveform]] = [[], []]
    for paths, row in zip(pairs, rows, strict=True):
        for side, path in zip(sides, paths, strict=True):
            side.append(to_mono(_matching(path, first, rate, Row(row.name)), str(path)))
    lengths = [len(waveform) for side in sides for waveform in side]
    length = min(lengths)
    if max(lengths) > length:
        rows[0].notes.append(
            f"stems of {length} to {max(lengths)} samples: the first {length} count together"
        )
    references, estimates = (np.stack([w[:length].astype(np.float64) for w in side]) for side in sides)
    return Mixture(references, estimates, rate)


def _compare(files: FilePair, place: Path, metrics: Sequence[str], row: Row) -> None:
    """Scores of an estimate and of its input against their reference, into a row.

    Raises:
        InputError: a file cannot be read, or has other channels.
    """
    reference, rate = read(place)
    estimate = _matching(files.estimate, reference, rate, row)
    if "pesq" in metrics and rate < WIDE_BAND_RATE:
        row.notes.append(f"PESQ is narrow-band at {rate} Hz: another scale than wide-band")
    edge = _edge(files.noisy) if files.noisy is not None and "lsd_high" in metrics else None
    others: list[Waveform] = []
    if any(METRICS.get(name).uses_interferers for name in metrics):
        others = _interferers(files, reference, rate)
    row.values = score_channels(reference, estimate, rate, metrics, edge, others)
    # An input that cannot be read costs its own scores alone.
    if files.noisy is not None:
        noisy = _matching(files.noisy, reference, rate, row, is_array=True)
        row.baseline = score_channels(reference, noisy, rate, metrics, edge, others)


def _interferers(files: FilePair, reference: Waveform, sample_rate: int) -> list[Waveform]:
    """What else was heard: the other stems, or without them what the input has beside the reference.

    Raises:
        InputError: a file cannot be read, or has other channels.
    """
    unsaid = Row(files.name)
    if files.interferers:
        return [_matching(path, reference, sample_rate, unsaid) for path in files.interferers]
    if files.noisy is None:
        return []
    noisy = _matching(files.noisy, reference, sample_rate, unsaid, is_array=True)
    length = min(noisy.shape[1], reference.shape[1])
    return [noisy[:, :length] - reference[:, :length]]


def rate_file(path: Path, metrics: Sequence[str]) -> dict[str, Value]:
    """Scores of one file by non-intrusive metrics, in constant memory.

    Raises:
        InputError: the file cannot be read.
    """

    def blocks() -> Iterator[Waveform]:
        with AudioReader(path) as reader:
            yield from (block.T for block in reader.blocks(BLOCK))

    info = probe(path)
    recording = Recording(blocks, info.sample_rate, info.channels)
    return {name: _measured(partial(_rated, METRICS.get(name), recording)) for name in metrics}


def _rated(metric: type[Metric], recording: Recording) -> float:
    assert issubclass(metric, NonIntrusiveMetric)
    return metric().rate(recording)


def _of_length(waveform: Waveform, length: int) -> Waveform:
    """The first samples, with silence behind them where there are too few."""
    return np.pad(waveform[:length], (0, max(0, length - len(waveform))))


def _places(files: FilePair) -> dict[str, str]:
    """The files of a row, and what scored them."""
    places = {"estimate": files.estimate, "reference": files.reference, "noisy": files.noisy}
    return {**{word: str(path) for word, path in places.items() if path is not None}, "version": __version__}


def score_files(
    pairs: Sequence[FilePair],
    metrics: Sequence[str],
    jobs: int = 1,
    progress: Callable[[Row], None] | None = None,
) -> list[Row]:
    """Score many pairs, in worker processes when jobs > 1.

    Args:
        progress: called with each row as it is finished, in any order.
    Returns:
        Rows in the order of `pairs`. A pair whose worker dies gets a reason; the others are not lost.
    """
    together = any(issubclass(METRICS.get(name), JointMetric) for name in metrics)
    groups: dict[str | int, list[int]] = {}
    for n, pair in enumerate(pairs):
        groups.setdefault(pair.mixture if together and pair.mixture else n, []).append(n)
    rows: dict[int, Row] = {}
    parts = [[pairs[n] for n in group] for group in groups.values()]
    for index, part in _scored(parts, metrics, min(jobs, len(parts))):
        for n, row in zip([*groups.values()][index], part, strict=True):
            rows[n] = row
            if progress is not None:
                progress(row)
    return [rows[n] for n in range(len(pairs))]


def _score_part(stems: Sequence[FilePair], metrics: Sequence[str]) -> list[Row]:
    """`score_stems`, with what the files themselves are."""
    rows = score_stems(stems, metrics)
    for files, row in zip(stems, rows, strict=True):
        if not row.failed:
            row.facts |= sound_facts(files.estimate, files.noisy)
    return rows


def sound_facts(estimate: Path, noisy: Path | None) -> dict[str, Any]:
    """{"seconds", "sample_rate", "channels", "peak"} of an estimate, {"input_peak"}: what can be read."""
    facts: dict[str, Any] = {}
    for path, peak_name in ((estimate, "peak"), (noisy, "input_peak")):
        if path is None:
            continue
        try:
            with AudioReader(path) as reader:
                peak, frames = 0.0, 0
                for block in reader.blocks(BLOCK):
                    peak, frames = max(peak, float(np.abs(block).max(initial=0.0))), frames + len(block)
                if path is estimate:
                    rate, channels = reader.info.sample_rate, reader.info.channels
                    facts |= {"seconds": round(frames / rate, 3), "sample_rate": rate, "channels": channels}
        except AudiotoolError:
            continue
        facts[peak_name] = round(peak, 4)
    return facts


Part = Sequence[FilePair]


def _scored(parts: Sequence[Part], metrics: Sequence[str], jobs: int) -> Iterator[tuple[int, list[Row]]]:
    if jobs <= 1:
        for index, part in enumerate(parts):
            yield index, _score_part(part, metrics)
        return
    lost = []
    for index, rows in _pooled(dict(enumerate(parts)), metrics, jobs):
        if rows is None:
            lost.append(index)
        else:
            yield index, rows
    # One death breaks the whole pool: what it left is tried one by one, to find whose fault it was.
    for index in sorted(lost):
        [(_, rows)] = _pooled({index: parts[index]}, metrics, 1)
        values = dict.fromkeys(metrics, Value(None, "the process that scored this file died"))
        yield index, rows or [Row(pair.name, dict(values), failed=True) for pair in parts[index]]


def _pooled(
    parts: dict[int, Part], metrics: Sequence[str], jobs: int
) -> Iterator[tuple[int, list[Row] | None]]:
    """Rows as they are finished; None for those whose pool broke."""
    threads = max(1, core_count() // jobs)
    with ProcessPoolExecutor(jobs, get_context("spawn"), _prepare, (threads,)) as pool:
        futures: dict[Future[list[Row]], int] = {}
        try:
            for index, part in parts.items():
                futures[pool.submit(_score_part, part, metrics)] = index
        except BrokenProcessPool:
            yield from ((index, None) for index in parts.keys() - set(futures.values()))
        try:
            for future in as_completed(futures):
                broken = isinstance(future.exception(), BrokenProcessPool)
                yield futures[future], None if broken else future.result()
        except BaseException:
            workers = list((pool._processes or {}).values())
            pool.shutdown(wait=False, cancel_futures=True)
            end(workers, PATIENCE)
            raise


def _prepare(count: int) -> None:
    def leave(*signalled: object) -> None:
        close_children()
        os._exit(1)

    leave_to_parent()
    signal.signal(signal.SIGTERM, leave)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(count)


def _measured(measure: Callable[[], float]) -> Value:
    number, reason = _attempted(measure)
    return Value(None, reason) if number is None else _finite(number)


def _finite(number: float) -> Value:
    return Value(number) if np.isfinite(number) else Value(None, "the result is not finite")


def _attempted(measure: Callable[[], T]) -> tuple[T | None, str]:
    """What a metric gives, or None and why."""
    try:
        return measure(), ""
    except (Unscorable, DependencyError) as error:
        return None, str(error)
    except ImportError as error:
        missing = explained(error)
        if missing is None:
            raise
        return None, str(missing)
    except (ArithmeticError, ValueError, np.linalg.LinAlgError, RuntimeError) as error:
        # A library's own failure on an odd signal costs this number, not the run.
        return None, f"{type(error).__name__}: {' '.join(str(error).split())}"


def _problem(pair: Pair) -> str | None:
    if not len(pair.reference):
        return "there are no samples to compare"
    for word, waveform in (("reference", pair.reference), ("estimate", pair.estimate)):
        if not np.isfinite(waveform).all():
            return f"the {word} holds samples that are not finite"
    return None


def _edge(path: Path) -> float | None:
    """Where the content of a file ends in Hz, None for silence."""
    from audiotool.dsp.bandwidth import BandwidthMeter

    waveform, rate = read(path)
    meter = BandwidthMeter(rate)
    meter.feed(waveform)
    return meter.bandwidth_hz()


def _matching(
    path: Path, reference: Waveform, sample_rate: int, row: Row, is_array: bool = False
) -> Waveform:
    """Read a file to compare with the reference (channels, time), at its rate; differences become notes.

    Of an array's recording the first channels count, to which its output is aligned.
    """
    waveform, rate = read(path)
    if rate != sample_rate:
        import soxr

        row.notes.append(f"{path.name} resampled from {rate} to {sample_rate} Hz")
        waveform = soxr.resample(waveform.T, rate, sample_rate).T
    if is_array and len(waveform) > len(reference):
        row.notes.append(f"of {path.name}'s {len(waveform)} channels the first {len(reference)} count")
        waveform = waveform[: len(reference)]
    if len(waveform) != len(reference):
        raise InputError(f"{path} has {len(waveform)} channels, its reference {len(reference)}")
    own, others = waveform.shape[1], reference.shape[1]
    if own != others:
        shorter = min(own, others)
        row.notes.append(f"{path.name} has {own} samples, its reference {others}: the first {shorter} count")
    return waveform
