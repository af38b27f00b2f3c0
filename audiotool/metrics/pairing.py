"""Pair files for scoring: estimates with references, and stems in the order that scores best."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from audiotool.audio.formats import is_readable_name
from audiotool.audio.mono import to_mono
from audiotool.audio.reader import read
from audiotool.audio.walk import media_hint, walk
from audiotool.errors import AudiotoolError, InputError
from audiotool.extras import require
from audiotool.metrics.base import Waveform
from audiotool.metrics.sdr import best_permutation
from audiotool.paths import absence, like_named
from audiotool.text import composed, listed

logger = logging.getLogger(__name__)

Interchangeable = Callable[[Sequence[str]], Sequence[int]]
"""Function of stems' names: which of them may be in any order."""


@dataclass(frozen=True)
class FilePair:
    """Files to compare.

    Args:
        name: name of the report's row.
        reference: the clean version; None allows non-intrusive metrics alone.
        noisy: the unprocessed input, which is scored too, or None.
        interferers: references of the other stems of the same mixture.
        mixture: identifier that all stems of a mixture share; "" where it is not known.
    """

    name: str
    reference: Path | None
    estimate: Path
    noisy: Path | None = None
    interferers: tuple[Path, ...] = ()
    mixture: str = ""


def best_order(
    references: Sequence[Path], estimates: Sequence[Path], free: Sequence[int] | None = None
) -> tuple[int, ...]:
    """Return the index of each reference's estimate, for stems of any order, such as speakers.

    Args:
        free: which stems may be in any order; None is all.

    The order is that of the best mean SI-SDR, at the sample rate of the first reference. If a file cannot be
    read or resampled, the order stays, and the file's row has the error.
    """
    waveforms: list[list[Waveform]] = [[], []]
    sample_rate = None
    try:
        for side, paths in zip(waveforms, (references, estimates), strict=True):
            for path in paths:
                waveform, rate = read(path)
                sample_rate = sample_rate or rate
                side.append(resampled(to_mono(waveform, str(path)), rate, sample_rate, path))
    except AudiotoolError:
        return tuple(range(len(references)))
    length = min(len(w) for side in waveforms for w in side)
    first, second = (np.stack([w[:length].astype(np.float64) for w in side]) for side in waveforms)
    if not length or not (np.isfinite(first).all() and np.isfinite(second).all()):
        return tuple(range(len(references)))
    free = range(len(first)) if free is None else free
    order = list(range(len(first)))
    for n, best in zip(free, best_permutation(first[list(free)], second[list(free)]), strict=True):
        order[n] = free[best]
    return tuple(order)


def resampled(waveform: Waveform, rate: int, sample_rate: int, path: Path) -> Waveform:
    """Return a file's samples (time,) or (channels, time), read at `rate` in Hz, at the sample rate in Hz of
    its reference.

    Raises:
        DependencyError: the rates differ, and soxr is not installed.
    """
    if rate == sample_rate:
        return waveform
    require("soxr", f"{path} has {rate} Hz, its reference {sample_rate} Hz: resampling")
    import soxr

    found: Waveform = soxr.resample(waveform.T, rate, sample_rate).T
    return found


def pair_files(reference: Path | None, estimate: Path, noisy: Path | None = None) -> list[FilePair]:
    """Pair files, or the files of two folders by their path relative to the folder, suffix aside.

    There is a pair for each estimate. References without an estimate are left out and logged. An estimate
    without a reference is paired with the path where it would be, and its row has the error. The noisy input
    of NAME.STEM may be called NAME.

    Raises:
        InputError: a path is missing, a file is given against a folder, or no estimate has a partner.
    """
    reference, estimate = None if reference is None else like_named(reference), like_named(estimate)
    noisy = None if noisy is None else like_named(noisy)
    _check_kinds({"reference": reference, "estimate": estimate, "noisy input": noisy}, estimate)
    if not os.path.isdir(estimate):
        return [FilePair(estimate.name, reference, estimate, noisy)]
    estimates = _by_stem(estimate)
    if not estimates:
        raise InputError(f"{estimate}: no audio files in this folder{media_hint(estimate)}")
    references = {} if reference is None else _references(estimates, reference)
    inputs = {} if noisy is None else _noisy_inputs(estimates, noisy)
    for word, folder, found in (("reference", reference, references), ("noisy input", noisy, inputs)):
        if folder is not None and not found:
            raise InputError(
                f"none of {len(estimates)} estimates has a {word} in {folder}:"
                f" {', '.join(list(estimates)[:3])}{', …' if len(estimates) > 3 else ''}"
            )

    def partner(folder: Path | None, found: dict[str, Path], stem: str) -> Path | None:
        if folder is None:
            return None
        return found.get(stem) or folder / estimates[stem].relative_to(estimate)

    return [
        FilePair(stem, partner(reference, references, stem), path, partner(noisy, inputs, stem))
        for stem, path in sorted(estimates.items())
    ]


def _check_kinds(given: dict[str, Path | None], estimate: Path) -> None:
    """Check that the paths exist, and that all are files or all are folders, as the estimate."""
    for word, path in given.items():
        reason = None if path is None else absence(path)
        if reason is not None:
            raise InputError(f"{word} {path}: {reason}")
    for word, path in given.items():
        if path is not None and os.path.isdir(path) != os.path.isdir(estimate):
            raise InputError(
                f"{word} {path} and estimate {estimate}: give files, or folders, not one of each"
            )


def _references(estimates: dict[str, Path], folder: Path) -> dict[str, Path]:
    """Return the references of the estimates that have one; log the references without an estimate."""
    references = _by_stem(folder)
    found = _matches(estimates, references)
    used = set(found.values())
    unused = [str(path.relative_to(folder)) for path in references.values() if path not in used]
    if unused and found:
        logger.warning("references without an estimate, which are not scored: %s", listed(unused))
    return found


def _noisy_inputs(estimates: dict[str, Path], folder: Path) -> dict[str, Path]:
    """Return the inputs of the estimates that have one: of the same name, or NAME of NAME.STEM."""
    inputs = _by_stem(folder)
    mixtures = {stem: stem.rpartition(".")[0] for stem in estimates}
    found = _matches(mixtures.values(), inputs)
    of_mixtures = {stem: found[mixture] for stem, mixture in mixtures.items() if mixture in found}
    return of_mixtures | _matches(estimates, inputs)


def _matches(stems: Iterable[str], files: dict[str, Path]) -> dict[str, Path]:
    """Return the file of each stem that has one: of its name, or the only one whose name looks equal."""
    alike: dict[str, list[Path]] = {}
    for name, path in files.items():
        alike.setdefault(composed(name), []).append(path)
    found = {}
    for stem in stems:
        paths = [files[stem]] if stem in files else alike.get(composed(stem), [])
        if len(paths) == 1:
            found[stem] = paths[0]
    return found


def in_best_order(pairs: Sequence[FilePair], interchangeable: Interchangeable) -> list[FilePair]:
    """Pair the estimates of stems without a fixed order, such as speakers, with the references they fit best.

    Args:
        pairs: pairs named NAME.STEM, as `pair_files` names them; pairs of other names are kept.
        interchangeable: function that returns which stems of given names have no fixed order.
    Returns:
        Pairs in the order of the references, each with its mixture and with the references of the other stems
        as interferers. The name of a pair with another estimate than before ends in the name of that file.
    """
    mixtures: dict[str, list[FilePair]] = {}
    for pair in pairs:
        mixtures.setdefault(pair.name.rpartition(".")[0], []).append(pair)
    result = []
    for mixture, stems in mixtures.items():
        order = tuple(range(len(stems)))
        references = tuple(pair.reference for pair in stems if pair.reference is not None)
        is_mixture = len(references) == len(stems) and all("." in pair.name for pair in stems)
        free = interchangeable([pair.name.rpartition(".")[2] for pair in stems])
        if len(references) == len(stems) and free:
            order = best_order(references, [pair.estimate for pair in stems], free)
        for m, (pair, n) in enumerate(zip(stems, order, strict=True)):
            own = pair.estimate == stems[n].estimate
            name = pair.name if own else f"{pair.name}: {stems[n].estimate.name}"
            others = references[:m] + references[m + 1 :] if is_mixture else ()
            found = replace(pair, name=name, estimate=stems[n].estimate, interferers=others)
            result.append(replace(found, mixture=mixture) if is_mixture else found)
    return result


def _by_stem(folder: Path) -> dict[str, Path]:
    """Return the audio files of a folder and those below it, by relative path without suffix.

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
