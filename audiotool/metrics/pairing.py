"""Pair files for scoring: estimates with references, and stems in the order that scores best."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from audiotool.audio.formats import is_readable_name
from audiotool.audio.mono import to_mono
from audiotool.audio.near_names import near_name
from audiotool.audio.reader import read
from audiotool.audio.target import BACKGROUND
from audiotool.audio.walk import media_hint, walk
from audiotool.engines.base import is_speaker
from audiotool.errors import AudiotoolError, InputError
from audiotool.extras import require
from audiotool.metrics.base import Waveform
from audiotool.metrics.sdr import best_assignment, si_sdr
from audiotool.paths import MISSING, absence, like_named
from audiotool.text import composed, listed

logger = logging.getLogger(__name__)

NO_STEM = "its name says no stem, as NAME.speaker1 and speaker1/NAME do: no other order was tried"
"""The note of a recording that is scored as a stem."""

PREFERENCE_DB = 1e-9
"""What a stem's own partner is better by, so that of equal orders the given one is kept."""


@dataclass(frozen=True)
class FilePair:
    """Files to compare.

    Args:
        name: name of the report's row.
        reference: the clean version; None allows non-intrusive metrics alone.
        noisy: the unprocessed input, which is scored too, or None.
        interferers: references of the other stems of the same mixture.
        mixture: identifier that all stems of a mixture share; "" where it is not known.
        stem: name of the reference's stem ("speaker1"); "" where it is not known.
        notes: remarks for the user.
    """

    name: str
    reference: Path | None
    estimate: Path
    noisy: Path | None = None
    interferers: tuple[Path, ...] = ()
    mixture: str = ""
    stem: str = ""
    notes: tuple[str, ...] = ()


class Stem(NamedTuple):
    """What the name of a stem's file says.

    Args:
        mixture: name of the mixture; "" where the file's name is the stem's.
        stem: name of the stem; "" where the name says none.
    """

    mixture: str
    stem: str


def best_order(
    references: Sequence[Path | None],
    estimates: Sequence[Path | None],
    free: Sequence[int] | None = None,
) -> tuple[int, ...]:
    """Return the index of each reference's estimate, for stems of any order, such as speakers.

    Args:
        references, estimates: as many of the one as of the other; None stands for one that is not there.
        free: which stems may be in any order; None is all.

    The order is that of the best mean SI-SDR, at the sample rate of the first reference. Files that have no
    number (missing, unreadable, empty) get what the others leave, and their rows have the error.
    """
    free = range(len(references)) if free is None else free
    order = list(range(len(references)))
    if len(free) < 2:
        return tuple(order)
    first, second = _waveforms([(n, references[n]) for n in free], [(n, estimates[n]) for n in free])
    ratios = np.array([[_ratio_db(*r, *e) for e in second.items()] for r in first.items()])
    best = best_assignment(ratios.reshape(len(first), len(second)))
    found = {list(first)[row]: list(second)[column] for row, column in best}
    left, over = set(free) - found.keys(), set(free) - set(found.values())
    found |= {n: n for n in left & over}
    found |= dict(zip(sorted(left - over), sorted(over - left), strict=True))
    return tuple(found.get(n, n) for n in order)


def _waveforms(*sides: Sequence[tuple[int, Path | None]]) -> list[dict[int, Waveform]]:
    """Return the samples (time,) float64 of each side's numbered files, at one sample rate, of those that can
    be compared."""
    found: list[dict[int, Waveform]] = [{} for _ in sides]
    sample_rate = None
    for side, paths in zip(found, sides, strict=True):
        for n, path in paths:
            # The row of a file that cannot be read has the error.
            with contextlib.suppress(AudiotoolError):
                if path is None:
                    continue
                waveform, rate = read(path)
                mono = to_mono(waveform, str(path))
                sample_rate = sample_rate or rate
                mono = resampled(mono, rate, sample_rate, path).astype(np.float64)
                if len(mono) and np.isfinite(mono).all():
                    side[n] = mono
    return found


def _ratio_db(n: int, reference: Waveform, m: int, estimate: Waveform) -> float:
    """Return the SI-SDR in dB of the n-th reference and the m-th estimate, as far as both go."""
    length = min(len(reference), len(estimate))
    return si_sdr(reference[:length], estimate[:length]) + (PREFERENCE_DB if n == m else 0.0)


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


def pair_files(
    reference: Path | None, estimate: Path, noisy: Path | None = None, of_stems: bool = False
) -> list[FilePair]:
    """Pair files, or the files of two folders by their path relative to the folder, suffix aside.

    There is a pair for each estimate. References without an estimate are left out and logged. An estimate
    without a reference is paired with the path where it would be, and its row has the error; but the
    background of a mixture is left out and logged, too.

    Args:
        of_stems: the files are stems of mixtures, called NAME.STEM or STEM/NAME, whose noisy input may be
            called NAME. Stems without a fixed order, such as speakers, are paired as they fit best.
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
    candidates = {} if reference is None else _by_stem(reference)
    if of_stems:
        estimates, candidates = _renamed(estimates, candidates), _renamed(candidates, estimates)
    references = _matches(estimates, candidates)
    inputs = {} if noisy is None else _noisy_inputs(estimates, of_stems, noisy)
    for word, folder, found in (("reference", reference, references), ("noisy input", noisy, inputs)):
        if folder is not None and not found:
            raise InputError(
                f"none of {len(estimates)} estimates has a {word} in {folder}:"
                f" {', '.join(list(estimates)[:3])}{', …' if len(estimates) > 3 else ''}"
            )

    def partner(folder: Path | None, found: dict[str, Path], name: str) -> Path | None:
        if folder is None:
            return None
        return found.get(name) or folder / estimates[name].relative_to(estimate)

    pairs = [
        FilePair(name, partner(reference, references, name), path, partner(noisy, inputs, name))
        for name, path in sorted(estimates.items())
    ]
    if of_stems:
        used = set(references.values())
        unused = {name: path for name, path in candidates.items() if path not in used}
        stems = stems_of(estimates)
        pairs = [replace(pair, **stems[pair.name]._asdict()) for pair in pairs]
        pairs = _in_best_order(_without_backgrounds(pairs, references), unused)
    _log_unused(reference, candidates, pairs)
    return pairs


def pair_stems(pairs: Sequence[FilePair]) -> list[FilePair]:
    """Pair the stems of mixtures that a list names as they fit best, see `pair_files`.

    The estimates' paths say which are of one mixture; where they name no speakers, the references' may.
    """
    stems = _stems_of_paths([pair.estimate for pair in pairs])
    if not any(is_speaker(stem) for _, stem in stems):
        others = _stems_of_paths([pair.reference or pair.estimate for pair in pairs])
        stems = others if any(is_speaker(stem) for _, stem in others) else stems
    found = [replace(pair, **stem._asdict()) for pair, stem in zip(pairs, stems, strict=True)]
    return _in_best_order(found, {})


def _stems_of_paths(paths: Sequence[Path]) -> list[Stem]:
    names = [path.with_suffix("").as_posix() for path in paths]
    found = stems_of(names)
    return [found[name] for name in names]


def _check_kinds(given: dict[str, Path | None], estimate: Path) -> None:
    """Check that the paths exist, and that all are files or all are folders, as the estimate."""
    for word, path in given.items():
        if path is not None and (reason := absence(path)) is not None:
            raise InputError(f"{word} {path}: {reason}{near_name(path) if reason == MISSING else ''}")
    for word, path in given.items():
        if path is not None and os.path.isdir(path) != os.path.isdir(estimate):
            raise InputError(
                f"{word} {path} and estimate {estimate}: give files, or folders, not one of each"
            )


def _renamed(files: Mapping[str, Path], others: Iterable[str]) -> dict[str, Path]:
    """Return the files by names NAME.STEM, where they are STEM/NAME.

    Raises:
        InputError: there are files of both names.
    """
    found: dict[str, Path] = {}
    for name, (mixture, stem) in stems_of(files, others).items():
        _add(found, f"{mixture}.{stem}" if mixture and stem else name, files[name])
    return found


def _noisy_inputs(estimates: Iterable[str], of_stems: bool, folder: Path) -> dict[str, Path]:
    """Return the inputs of the estimates that have one: of the same name, or of the name of the mixture."""
    inputs = _by_stem(folder)
    # Where the files are no stems, another recording may have the first part of a name with a dot.
    stems = stems_of(estimates) if of_stems else {name: _by_ending(name) for name in estimates}
    mixtures = {name: mixture for name, (mixture, stem) in stems.items() if of_stems or is_speaker(stem)}
    found = _matches(mixtures.values(), inputs)
    of_mixtures = {name: found[mixture] for name, mixture in mixtures.items() if mixture in found}
    return of_mixtures | _matches(estimates, inputs)


def stems_of(names: Iterable[str], others: Iterable[str] = ()) -> dict[str, Stem]:
    """Return what the names of stems say: of which mixture they are, and which stem.

    A name is NAME.STEM, or a part of its path is a speaker (speaker1/NAME, NAME/speaker1). What else is in
    the place of that part is a stem, too (background/NAME), and what the others have as STEM of NAME.STEM.
    """
    found = {name: _stem_of(name) for name in names}
    mixtures = {stem.mixture for name, stem in found.items() if stem != _by_ending(name)} - {""}
    known = {_by_ending(name) for name in others}
    for name, own in found.items():
        if not is_speaker(own.stem):
            places = (stem for stem in _by_part(name) if stem.mixture in mixtures or stem in known)
            found[name] = next(places, own)
    return found


def _stem_of(name: str) -> Stem:
    """Return the stem of NAME.STEM, or the speaker that a part of the path names."""
    ending = _by_ending(name)
    places = (place for place in (ending, *_by_part(name)) if is_speaker(place.stem))
    return next(places, ending)


def _by_ending(name: str) -> Stem:
    folder, slash, last = name.rpartition("/")
    mixture, _, stem = last.rpartition(".")
    return Stem(f"{folder}{slash}{mixture}", stem) if mixture else Stem("", "")


def _by_part(name: str) -> list[Stem]:
    """Return each part of a path as a stem of the mixture that the other parts name."""
    parts = name.split("/")
    return [Stem("/".join(parts[:n] + parts[n + 1 :]), part) for n, part in enumerate(parts)]


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


def _without_backgrounds(pairs: Sequence[FilePair], references: Mapping[str, Path]) -> list[FilePair]:
    """Leave out backgrounds that have no reference, of mixtures whose other stems have one; log them."""
    scored = {pair.mixture for pair in pairs if pair.name in references}
    alone = {
        pair.name
        for pair in pairs
        if pair.stem == BACKGROUND and pair.name not in references and pair.mixture in scored
    }
    if alone:
        logger.warning("backgrounds without a reference, which are not scored: %s", listed(sorted(alone)))
    return [pair for pair in pairs if pair.name not in alone]


def _in_best_order(pairs: Sequence[FilePair], unused: Mapping[str, Path]) -> list[FilePair]:
    """Pair the estimates of stems without a fixed order, such as speakers, with the references they fit best.

    Args:
        pairs: pairs whose mixtures and stems are known; the others are kept, with a note.
        unused: references without an estimate, by name, which may fit better than those that have one.
    """
    mixtures: dict[str, list[int]] = {}
    result = list(pairs)
    for n, pair in enumerate(pairs):
        if pair.stem:
            mixtures.setdefault(pair.mixture, []).append(n)
        elif pair.reference is not None and len(pairs) > 1:
            result[n] = replace(pair, notes=(NO_STEM,))
    spare: dict[str, list[FilePair]] = {}
    for (name, path), stem in zip(unused.items(), stems_of(unused).values(), strict=True):
        spare.setdefault(composed(stem.mixture), []).append(FilePair(name, path, path, None, (), *stem))
    for mixture, members in mixtures.items():
        found = _of_mixture([pairs[n] for n in members], spare.get(composed(mixture), []))
        for n, pair in zip(members, found, strict=True):
            result[n] = pair
    return result


def _of_mixture(stems: Sequence[FilePair], spare: Sequence[FilePair]) -> list[FilePair]:
    """Pair the estimates of one mixture.

    Args:
        stems: pairs of its stems.
        spare: pairs of its references that have no estimate.
    Returns:
        A pair for each estimate, in the order of the references, with the other references as interferers.
        The name of a pair with another estimate than before ends in the name of that file.
    """
    places = [*stems, *spare]
    references = [pair.reference for pair in places]
    # An estimate too many has the path where its reference would be.
    known = [path for path in references if path is not None and absence(path) is None]
    free = [n for n, pair in enumerate(places) if is_speaker(pair.stem)] if known else []
    order = best_order(references, [*(pair.estimate for pair in stems), *[None] * len(spare)], free)
    # The names of the files are alike in STEM/NAME.
    parts = 1 if len({pair.estimate.name for pair in stems}) == len(stems) else 2
    result = []
    for place, own in ((place, stems[n]) for place, n in zip(places, order, strict=True) if n < len(stems)):
        label = "/".join(own.estimate.parts[-parts:])
        name = place.name if own is place else f"{place.name}: {label}"
        others = tuple(path for path in known if path != place.reference) if None not in references else ()
        fitted = replace(own, name=name, reference=place.reference, stem=place.stem, interferers=others)
        result.append(fitted)
    return result


def _log_unused(folder: Path | None, references: Mapping[str, Path], pairs: Sequence[FilePair]) -> None:
    """Log the references of a folder that no pair has."""
    used = {pair.reference for pair in pairs}
    unused = [path for path in references.values() if path not in used]
    if folder is not None and unused:
        logger.warning(
            "references without an estimate, which are not scored: %s",
            listed([str(path.relative_to(folder)) for path in unused]),
        )


def _by_stem(folder: Path) -> dict[str, Path]:
    """Return the audio files of a folder and those below it, by relative path without suffix.

    Raises:
        InputError: two files differ in nothing but their suffix.
    """
    found: dict[str, Path] = {}
    for path in sorted(walk(folder, is_readable_name)):
        _add(found, path.relative_to(folder).with_suffix("").as_posix(), path)
    return found


def _add(found: dict[str, Path], name: str, path: Path) -> None:
    if name in found:
        raise InputError(f"{found[name]} and {path} have one name: which of them counts?")
    found[name] = path
