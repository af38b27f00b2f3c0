"""Score files. What cannot be scored gets a reason, never an exception."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from audiotool.audio.mono import to_mono
from audiotool.audio.reader import AudioInfo, AudioReader, probe, read
from audiotool.errors import AudiotoolError, InputError
from audiotool.metrics.base import (
    BLOCK,
    METRICS,
    Both,
    JointMetric,
    Metric,
    Mixture,
    NonIntrusiveMetric,
    Pair,
    Recording,
    Waveform,
)
from audiotool.metrics.pairing import FilePair, resampled
from audiotool.metrics.pesq import WIDE_BAND_RATE
from audiotool.metrics.rows import REFERENCE_RATE, Row
from audiotool.metrics.score import (
    ChannelScores,
    attempted,
    finite,
    mean_of_channels,
    measure_all,
    measured,
    score_channels,
    shortfall,
)
from audiotool.metrics.values import Curve, StemScore, Value
from audiotool.version import __version__

LONG_S = 120.0
"""Length from which files are compared block by block, in constant memory, in seconds."""


def score_stems(stems: Sequence[FilePair], metrics: Sequence[str]) -> list[Row]:
    """Score the pairs of one mixture, a row each; for a file that cannot be read the row has reasons."""
    joint = [name for name in metrics if issubclass(METRICS.get(name), JointMetric)]
    rows = [_score_alone(files, [name for name in metrics if name not in joint]) for files in stems]
    if joint:
        _score_together(stems, joint, rows)
    for row in rows:
        row.values = {name: row.values[name] for name in metrics}
    return rows


def rate_file(path: Path, metrics: Sequence[str], label: str) -> ChannelScores:
    """Score one file by non-intrusive metrics, in constant memory.

    Args:
        label: what notes call the file.
    Raises:
        InputError: the file cannot be read.
    """

    def blocks() -> Iterator[Waveform]:
        with AudioReader(path) as reader:
            yield from (block.T for block in reader.blocks(BLOCK))

    info = probe(path)
    recording = Recording(blocks, info.sample_rate, info.channels)
    found = [METRICS.get(name) for name in metrics]
    values = {metric.name: measured(metric, partial(_rated, metric, recording)) for metric in found}
    of_channels = [m for m in found if issubclass(m, NonIntrusiveMetric) and m.rates_channels]
    rated = [metric.name for metric in of_channels if values[metric.name].value is not None]
    left_out = recording.silent if rated else []
    notes = [f"{', '.join(rated)} without channel {n + 1} of {label}, which is silent" for n in left_out]
    return ChannelScores(values, notes)


def sound_facts(estimate: Path, noisy: Path | None) -> dict[str, Any]:
    """Return {"seconds", "sample_rate", "channels", "peak"} of the estimate and "input_peak", of files that
    can be read."""
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
        facts[peak_name] = float(f"{peak:.4g}")
    return facts


def _score_alone(files: FilePair, metrics: Sequence[str]) -> Row:
    """Score an estimate and its input, each by itself: a fault of one of them takes no score of the other."""
    began = time.monotonic()
    row = Row(files.name, facts={"status": "done", **places_of(files)}, notes=list(files.notes))
    compared = [name for name in metrics if METRICS.get(name).needs_reference]
    rated = [name for name in metrics if name not in compared]
    lost: dict[str, Value] = {}
    reference = None
    if files.reference is None:
        row.values = {name: Value(None, "there is no reference") for name in compared}
    elif compared:
        with _nulls(row, compared, lost):
            reference = _reference(files, files.reference, compared, row, lost)
    for side, label in zip(_sides(files, row), _labels(files), strict=False):
        side.scores.update(lost)
        with _nulls(row, metrics, side.scores):
            asked = [name for name in compared if name not in lost]
            if reference is not None and asked:
                found = _compared(reference, side, asked, row.notes, label)
                side.scores.update(found.values)
                # The notes are on channels of the reference, and are the same of the input.
                row.notes += [] if side.is_input else found.notes
            if rated:
                found = rate_file(side.path, rated, label)
                side.scores.update(found.values)
                row.notes += found.notes
    row.facts["elapsed_seconds"] = round(time.monotonic() - began, 3)
    return row


@contextlib.contextmanager
def _nulls(row: Row, metrics: Sequence[str], scores: dict[str, Value]) -> Iterator[None]:
    """Give metrics without a score the reason why a file cannot be read or compared; the row has failed."""
    try:
        yield
    except AudiotoolError as error:
        row.failed = True
        row.facts["status"] = "failed"
        scores.update({name: Value(None, str(error)) for name in metrics if name not in scores})


class _Side(NamedTuple):
    """A file of a row that is scored.

    Args:
        scores: those of the row, to which its own are added.
        is_input: whether it is the unprocessed input.
    """

    path: Path
    scores: dict[str, Value]
    is_input: bool


def _sides(files: FilePair, row: Row) -> list[_Side]:
    """Return the estimate and, if there is one, its input."""
    noisy = [] if files.noisy is None else [_Side(files.noisy, row.baseline, True)]
    return [_Side(files.estimate, row.values, False), *noisy]


def _score_together(stems: Sequence[FilePair], metrics: Sequence[str], rows: Sequence[Row]) -> None:
    """Score all stems of a mixture by joint metrics; add the scores to their rows."""
    reason = "rates all stems of a mixture together, two at least: evaluate --task separate"
    mixture = None
    if any(files.reference is None for files in stems):
        reason = "there is no reference"
    elif len(stems) > 1:
        try:
            mixture = _mixture(stems, rows[0].notes)
        except AudiotoolError as error:
            reason = str(error)
            for row in rows:
                row.failed, row.facts["status"] = True, "failed"
    for name in metrics:
        metric = METRICS.get(name)
        found: list[StemScore] | Value = Value(None, reason)
        if mixture is not None:
            found = attempted(metric, partial(_rated_together, metric, mixture, len(rows)))
        for n, row in enumerate(rows):
            row.values[name] = found if isinstance(found, Value) else finite(found[n].value)
            if not isinstance(found, Value):
                row.curves[name] = found[n].curve


def _mixture(stems: Sequence[FilePair], notes: list[str]) -> Mixture:
    """Read all stems of a mixture and their references, at the first one's sample rate; that their lengths
    differ becomes a note.

    Raises:
        InputError: a file cannot be read, or has other channels than the first.
    """
    pairs = [(files.reference, files.estimate) for files in stems if files.reference is not None]
    place = pairs[0][0]
    first, rate = read(place)
    sides: list[list[Waveform]] = [[], []]
    for paths in pairs:
        for side, path in zip(sides, paths, strict=True):
            waveform = first if path is place else _matching(path, first, rate, [])
            side.append(to_mono(waveform, str(path)))
        _require_whole(paths[1], len(sides[1][-1]), len(sides[0][-1]), rate)
    lengths = [len(waveform) for side in sides for waveform in side]
    length = min(lengths)
    if max(lengths) > length:
        notes.append(f"stems of {length} to {max(lengths)} samples: the first {length} count together")
    references, estimates = (np.stack([w[:length].astype(np.float64) for w in side]) for side in sides)
    return Mixture(references, estimates, rate)


class _Reference(NamedTuple):
    """What an estimate and its input are compared with.

    Args:
        path: the reference.
        info: facts of its header.
        read: returns its waveform (channels, time) and its rate in Hz, read once.
        edge_hz, interferers: as `score_channels`.
    """

    path: Path
    info: AudioInfo
    read: Callable[[], tuple[Waveform, int]]
    edge_hz: float | None
    interferers: Sequence[Waveform]


def _reference(
    files: FilePair, path: Path, metrics: Sequence[str], row: Row, lost: dict[str, Value]
) -> _Reference:
    """Return what both files of a row are compared with by these metrics; its rate becomes a fact.

    Args:
        lost: takes the metrics that need another file which cannot be read, with the reason.
    Raises:
        InputError: the reference cannot be read.
    """
    info = probe(path)
    row.facts[REFERENCE_RATE] = info.sample_rate
    narrow = [name for name in metrics if METRICS.get(name).has_narrow_band]
    if narrow and info.sample_rate < WIDE_BAND_RATE:
        row.notes.append(
            f"{', '.join(narrow)}: narrow-band at {info.sample_rate} Hz, another scale than wide-band"
        )
    read_once = cache(lambda: read(path))
    edge: float | None = None
    if files.noisy is not None and (by_edge := [name for name in metrics if METRICS.get(name).uses_edge]):
        with _nulls(row, by_edge, lost):
            edge = _edge(files.noisy)
    others: list[Waveform] = []
    if by_others := [name for name in metrics if METRICS.get(name).uses_interferers]:
        waveform, rate = read_once()
        with _nulls(row, by_others, lost):
            others = _interferers(files, waveform, rate)
    return _Reference(path, info, read_once, edge, others)


def _compared(
    reference: _Reference, side: _Side, metrics: Sequence[str], notes: list[str], label: str
) -> ChannelScores:
    """Return the scores of a file; differences from its reference become notes, which call it `label`.

    Raises:
        InputError: a file cannot be read, or has other channels, or breaks off.
    """
    if _is_long(side.path, reference.info, metrics):
        return _compare_blocks(reference.path, side.path, metrics, reference.edge_hz, notes, label)
    waveform, rate = reference.read()
    other = _matching(side.path, waveform, rate, notes, is_array=side.is_input, label=label)
    _require_whole(side.path, other.shape[1], waveform.shape[1], rate)
    return score_channels(waveform, other, rate, metrics, reference.edge_hz, reference.interferers)


def _labels(files: FilePair) -> tuple[str, str]:
    """Return what notes call the estimate and its input: their names, or paths if those are alike."""
    if files.noisy is None or files.noisy.name != files.estimate.name:
        return files.estimate.name, "" if files.noisy is None else files.noisy.name
    return str(files.estimate), str(files.noisy)


def _is_long(path: Path, reference: AudioInfo, metrics: Sequence[str]) -> bool:
    """Return whether a file is compared with its reference block by block.

    They are long, have one sample rate and number of channels, and no metric needs other signals.

    Raises:
        InputError: the file cannot be read.
    """
    if reference.seconds is None or reference.seconds < LONG_S:
        return False
    if any(METRICS.get(name).uses_interferers for name in metrics):
        return False
    own = probe(path)
    return own.frames is not None and (own.sample_rate, own.channels) == (
        reference.sample_rate,
        reference.channels,
    )


def _compare_blocks(
    reference: Path,
    other: Path,
    metrics: Sequence[str],
    edge_hz: float | None,
    notes: list[str],
    label: str,
) -> ChannelScores:
    """Return the scores of a file, read block by block together with its reference; differences become
    notes, which call it `label`."""
    first, second = probe(reference), probe(other)
    notes += _unequal(label, second.frames or 0, first.frames or 0, first.sample_rate)
    found = [METRICS.get(name) for name in metrics]
    each = []
    for channel in range(first.channels):
        pair = Pair.of_blocks(partial(_blocks, reference, other, channel), first.sample_rate, edge_hz)
        each.append(measure_all(pair, found, first.channels > 1))
    counted = pair.facts[0].length
    # Which of two files has fewer samples than its header says is not known.
    either = f"{other} or its reference" if first.frames == second.frames else other
    _require_whole(either, counted, first.frames or 0, first.sample_rate)
    if first.frames == second.frames and counted < (first.frames or 0):
        notes.append(
            f"{label} or its reference has fewer samples than its header says: the first {counted} count"
        )
    return mean_of_channels(each, metrics)


def _blocks(reference: Path, estimate: Path, channel: int) -> Iterator[Both]:
    """Yield one channel of two files, (time,) float64, up to the end of the shorter one."""
    with AudioReader(reference) as first, AudioReader(estimate) as second:
        for blocks in zip(first.blocks(BLOCK), second.blocks(BLOCK), strict=False):
            length = min(map(len, blocks))
            yield Both(*(block[:length, channel].astype(np.float64) for block in blocks))


def _interferers(files: FilePair, reference: Waveform, sample_rate: int) -> list[Waveform]:
    """Return the other signals of the mixture: the other stems, or else the input minus the reference.

    Raises:
        InputError: a file cannot be read, or has other channels.
    """
    if files.interferers:
        return [_matching(path, reference, sample_rate, []) for path in files.interferers]
    if files.noisy is None:
        return []
    noisy = _matching(files.noisy, reference, sample_rate, [], is_array=True)
    length = min(noisy.shape[1], reference.shape[1])
    return [noisy[:, :length] - reference[:, :length]]


def _rated(metric: type[Metric], recording: Recording) -> float:
    assert issubclass(metric, NonIntrusiveMetric)
    return metric().rate(recording)


def _rated_together(metric: type[Metric], mixture: Mixture, stems: int) -> list[StemScore]:
    """Return a score of each stem, whatever a metric of another package returns for them."""
    assert issubclass(metric, JointMetric)
    scores = metric().rate(mixture)
    return [StemScore(float(scores[n].value), Curve(*scores[n].curve)) for n in range(stems)]


def places_of(files: FilePair) -> dict[str, str]:
    """Return the files of a row, which stem of a mixture they are, and the version that scored them."""
    places = {"estimate": files.estimate, "reference": files.reference, "noisy": files.noisy}
    found = {word: str(path) for word, path in places.items() if path is not None}
    return {**found, **stem_facts(files), "version": __version__}


def stem_facts(files: FilePair) -> dict[str, str]:
    """Return {"mixture", "stem"} of a stem, by which reports of two systems have it in common."""
    return {"mixture": files.mixture, "stem": files.stem} if files.stem else {}


def _edge(path: Path) -> float | None:
    """Return the highest frequency of a file's content in Hz, None for silence."""
    from audiotool.dsp.bandwidth import BandwidthMeter

    with AudioReader(path) as reader:
        meter = BandwidthMeter(reader.info.sample_rate)
        for block in reader.blocks(BLOCK):
            meter.feed(block.T)
    return meter.bandwidth_hz()


def _matching(
    path: Path,
    reference: Waveform,
    sample_rate: int,
    notes: list[str],
    is_array: bool = False,
    label: str = "",
) -> Waveform:
    """Read a file to compare with the reference (channels, time), at its rate; differences become notes.

    The notes call it `label`. Of a microphone array's recording the first channels are used, to which its
    output is aligned.
    """
    waveform, rate = read(path)
    if rate != sample_rate:
        waveform = resampled(waveform, rate, sample_rate, path)
        notes.append(f"{label} resampled from {rate} to {sample_rate} Hz")
    if is_array and len(waveform) > len(reference):
        notes.append(f"of {label}'s {len(waveform)} channels the first {len(reference)} count")
        waveform = waveform[: len(reference)]
    if len(waveform) != len(reference):
        raise InputError(f"{path} has {len(waveform)} channels, its reference {len(reference)}")
    notes += _unequal(label, waveform.shape[1], reference.shape[1], sample_rate)
    return waveform


def _require_whole(path: Path | str, own: int, others: int, sample_rate: int) -> None:
    """Refuse an estimate that breaks off, see `shortfall`.

    Raises:
        InputError: it does.
    """
    if reason := shortfall(own, others, sample_rate):
        raise InputError(f"{path} {reason}")


def _unequal(name: str, own: int, others: int, sample_rate: int) -> list[str]:
    """Return a note on lengths that differ; none on a file that breaks off, of which nothing counts."""
    if own == others or shortfall(own, others, sample_rate):
        return []
    return [f"{name} has {own} samples, its reference {others}: the first {min(own, others)} count"]
