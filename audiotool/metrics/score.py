"""Score pairs of waveforms, files and folders. What cannot be scored gets a reason, never an exception.

score(reference, estimate, 16000, ["pesq", "stoi"])["pesq"].value
rows = score_files(pair_files(Path("clean"), Path("enhanced")), ["pesq", "stoi"], jobs=4)
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from audiotool.audio.formats import is_readable_name
from audiotool.audio.mono import to_mono
from audiotool.audio.reader import AudioReader, probe, read
from audiotool.audio.walk import walk
from audiotool.cores import core_count
from audiotool.errors import AudiotoolError, DependencyError, InputError
from audiotool.extras import explained
from audiotool.metrics.base import (
    BLOCK,
    METRICS,
    Metric,
    NonIntrusiveMetric,
    Pair,
    Recording,
    Unscorable,
    Value,
    Waveform,
)
from audiotool.metrics.pesq import WIDE_BAND_RATE, WORKER
from audiotool.metrics.rows import Row
from audiotool.metrics.sdr import best_permutation
from audiotool.paths import like_named
from audiotool.signals import end, leave_to_parent
from audiotool.text import composed
from audiotool.version import __version__

logger = logging.getLogger(__name__)

PATIENCE = 2.0
"""Seconds that terminated processes have for ending those of PESQ."""

Interchangeable = Callable[[Sequence[str]], bool]


@dataclass(frozen=True)
class FilePair:
    """Files to compare.

    Args:
        name: what the report's row is called.
        reference: the clean version; without one there are scores of non-intrusive metrics alone.
        noisy: the unprocessed input; its scores then stand beside the estimate's, with the improvement.
        interferers: references of the other stems of the same mixture.
    """

    name: str
    reference: Path | None
    estimate: Path
    noisy: Path | None = None
    interferers: tuple[Path, ...] = ()


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


def score_pair(files: FilePair, metrics: Sequence[str]) -> Row:
    """Score one pair of files; a file that cannot be read gives a row of reasons."""
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
    row.values = {name: row.values[name] for name in metrics}
    return row


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


def best_order(references: Sequence[Path], estimates: Sequence[Path]) -> tuple[int, ...]:
    """Index of each reference's estimate, for stems that come out in any order, such as speakers.

    That of the best mean SI-SDR; as given where a file cannot be read, which its row will say.
    """
    try:
        waveforms = [[to_mono(read(path)[0], str(path)) for path in side] for side in (references, estimates)]
    except AudiotoolError:
        return tuple(range(len(references)))
    length = min(len(w) for side in waveforms for w in side)
    first, second = (np.stack([w[:length].astype(np.float64) for w in side]) for side in waveforms)
    if not length or not (np.isfinite(first).all() and np.isfinite(second).all()):
        return tuple(range(len(references)))
    return best_permutation(first, second)


def pair_files(reference: Path | None, estimate: Path, noisy: Path | None = None) -> list[FilePair]:
    """Pair files, or the files of two folders by their path relative to the folder, suffix aside.

    The estimates decide: a reference that has no estimate is left out (and logged). An estimate that lacks a
    partner is paired with the path where one would be, which its row will say. The noisy input of
    NAME.STEM may be called NAME.

    Raises:
        InputError: a path is missing, a file is given against a folder, or no estimate has a partner.
    """
    reference, estimate = None if reference is None else like_named(reference), like_named(estimate)
    noisy = None if noisy is None else like_named(noisy)
    given = {"reference": reference, "estimate": estimate, "noisy input": noisy}
    for word, path in given.items():
        if path is not None and not path.exists():
            raise InputError(f"{word} {path}: no such file or folder")
    for word, path in given.items():
        if path is not None and path.is_dir() != estimate.is_dir():
            raise InputError(
                f"{word} {path} and estimate {estimate}: give files, or folders, not one of each"
            )
    if not estimate.is_dir():
        return [FilePair(estimate.name, reference, estimate, noisy)]
    estimates = _by_stem(estimate)
    if not estimates:
        raise InputError(f"{estimate}: no audio files in this folder")
    partners: dict[str, dict[str, Path]] = {}
    if reference is not None:
        references = _by_stem(reference)
        partners["reference"] = _matches(estimates, references)
        unused = len(references) - len(partners["reference"])
        if unused and partners["reference"]:
            logger.warning("%d references have no estimate and are not scored", unused)
    if noisy is not None:
        inputs = _by_stem(noisy)
        mixtures = {stem: stem.rpartition(".")[0] for stem in estimates}
        found = _matches(mixtures.values(), inputs)
        found = {stem: found[mixture] for stem, mixture in mixtures.items() if mixture in found}
        partners["noisy input"] = found | _matches(estimates, inputs)
    for word, paths in partners.items():
        if not paths:
            raise InputError(
                f"none of {len(estimates)} estimates has a {word} in {given[word]}:"
                f" {', '.join(list(estimates)[:3])}{', …' if len(estimates) > 3 else ''}"
            )

    def partner(word: str, folder: Path, stem: str) -> Path:
        return partners[word].get(stem) or folder / estimates[stem].relative_to(estimate)

    return [
        FilePair(
            stem,
            None if reference is None else partner("reference", reference, stem),
            path,
            None if noisy is None else partner("noisy input", noisy, stem),
        )
        for stem, path in sorted(estimates.items())
    ]


def _matches(stems: Iterable[str], files: dict[str, Path]) -> dict[str, Path]:
    """The file of each stem that has one: of its name, or the only one whose name looks equal."""
    alike: dict[str, list[Path]] = {}
    for name, path in files.items():
        alike.setdefault(composed(name), []).append(path)
    found = {}
    for stem in stems:
        paths = [files[stem]] if stem in files else alike.get(composed(stem), [])
        if len(paths) == 1:
            found[stem] = paths[0]
    return found


def in_best_order(pairs: Sequence[FilePair], are_interchangeable: Interchangeable) -> list[FilePair]:
    """The same estimates, those of stems that come in any order paired with the references they fit best.

    Args:
        pairs: named NAME.STEM, as `pair_files` does it; others stay as they are.
        are_interchangeable: whether stems of such names come in any order.
    Returns:
        Pairs in the order of the references, each with those of the other stems as interferers; where an
        exchange was needed the name says whose estimate it is.
    """
    mixtures: dict[str, list[FilePair]] = {}
    for pair in pairs:
        mixtures.setdefault(pair.name.rpartition(".")[0], []).append(pair)
    result = []
    for stems in mixtures.values():
        order = tuple(range(len(stems)))
        references = tuple(pair.reference for pair in stems if pair.reference is not None)
        is_mixture = len(references) == len(stems) and all("." in pair.name for pair in stems)
        if references and are_interchangeable([pair.name.rpartition(".")[2] for pair in stems]):
            order = best_order(references, [pair.estimate for pair in stems])
        for m, (pair, n) in enumerate(zip(stems, order, strict=True)):
            own = pair.estimate == stems[n].estimate
            name = pair.name if own else f"{pair.name}: {stems[n].estimate.name}"
            others = references[:m] + references[m + 1 :] if is_mixture else ()
            result.append(replace(pair, name=name, estimate=stems[n].estimate, interferers=others))
    return result


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
    for name in metrics:
        METRICS.get(name)
    rows: dict[int, Row] = {}
    for index, row in _scored(pairs, metrics, min(jobs, len(pairs))):
        rows[index] = row
        if progress is not None:
            progress(row)
    return [rows[n] for n in range(len(pairs))]


def _scored(pairs: Sequence[FilePair], metrics: Sequence[str], jobs: int) -> Iterator[tuple[int, Row]]:
    if jobs <= 1:
        for index, pair in enumerate(pairs):
            yield index, score_pair(pair, metrics)
        return
    lost = []
    for index, row in _pooled(dict(enumerate(pairs)), metrics, jobs):
        if row is None:
            lost.append(index)
        else:
            yield index, row
    # One death breaks the whole pool: what it left is tried one by one, to find whose fault it was.
    for index in sorted(lost):
        [(_, row)] = _pooled({index: pairs[index]}, metrics, 1)
        reason = Value(None, "the process that scored this file died")
        yield index, row or Row(pairs[index].name, dict.fromkeys(metrics, reason), failed=True)


def _pooled(
    pairs: dict[int, FilePair], metrics: Sequence[str], jobs: int
) -> Iterator[tuple[int, Row | None]]:
    """Rows as they are finished; None for those whose pool broke."""
    threads = max(1, core_count() // jobs)
    with ProcessPoolExecutor(jobs, get_context("spawn"), _prepare, (threads,)) as pool:
        futures: dict[Future[Row], int] = {}
        try:
            for index, pair in pairs.items():
                futures[pool.submit(score_pair, pair, metrics)] = index
        except BrokenProcessPool:
            yield from ((index, None) for index in pairs.keys() - set(futures.values()))
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
        WORKER.close()
        os._exit(1)

    leave_to_parent()
    signal.signal(signal.SIGTERM, leave)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(count)


def _measured(measure: Callable[[], float]) -> Value:
    try:
        number = measure()
    except (Unscorable, DependencyError) as error:
        return Value(None, str(error))
    except ImportError as error:
        missing = explained(error)
        if missing is None:
            raise
        return Value(None, str(missing))
    except (ArithmeticError, ValueError, np.linalg.LinAlgError, RuntimeError) as error:
        # A library's own failure on an odd signal costs this number, not the run.
        return Value(None, f"{type(error).__name__}: {' '.join(str(error).split())}")
    return Value(number) if np.isfinite(number) else Value(None, "the result is not finite")


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


def _by_stem(folder: Path) -> dict[str, Path]:
    """Audio files of a folder and those below it, by relative path without suffix, `composed`.

    Raises:
        InputError: two files differ in nothing but their suffix.
    """
    found: dict[str, Path] = {}
    for path in sorted(walk(folder, is_readable_name)):
        stem = path.relative_to(folder).with_suffix("").as_posix()
        if stem in found:
            raise InputError(f"{found[stem]} and {path} have one name: which of them counts?")
        found[stem] = path
    return found
