"""Scan folders of audio: files, durations, speakers and splits."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from audiotool.audio.formats import is_readable_name
from audiotool.audio.reader import measure
from audiotool.audio.walk import media_hint, walk
from audiotool.cores import core_count
from audiotool.data.entry import Entry
from audiotool.data.rooms import read_pack
from audiotool.errors import InputError
from audiotool.progress import Progress

Assignment = Literal["auto", "train", "valid", "test"]
SHARES = {"valid": 0.05, "test": 0.05}
DIVISIBLE_SPEAKERS = 3
"""Number of speakers from which splits are made by speaker, and not by file."""
SPOKEN = ("speech", "pair")
"""Kinds of recordings whose group is a speaker."""
SUBSET = re.compile("(train|training|dev|val|valid|validation|test|eval)(?![a-z])", re.IGNORECASE)
"""Beginning of the names of folders that are parts of a corpus, as train-clean-100, and no speakers."""


@dataclass
class Scan:
    """Result of a scan.

    Args:
        entries: in the order of their paths.
        unreadable: path -> why the file was left out.
        notes: remarks for the user.
    """

    entries: list[Entry]
    unreadable: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def assign(self, split: Assignment) -> None:
        """Assign a split to each entry, as `assign_splits`; notes tell of an uneven one, and of voices that
        may be in several."""
        self.entries = assign_splits(self.entries, split)
        if split == "auto":
            self.notes += uneven_splits(self.entries)
            speakers = {e.group for e in self.entries if e.kind in SPOKEN}
            if 0 < len(speakers) < DIVISIBLE_SPEAKERS:
                self.notes.append(
                    f"fewer than {DIVISIBLE_SPEAKERS} speakers ({', '.join(sorted(speakers))}): the split is"
                    " by file, and a voice may be in several; --speaker-pattern finds speakers in paths"
                )
            else:
                self.notes += lone_speakers(self.entries)


def scan(
    folder: Path,
    kind: str = "speech",
    group: Callable[[Path], str] | None = None,
    split: Assignment = "auto",
    source: str = "",
    licence: str = "unknown",
    keep: Callable[[Path], bool] = lambda path: True,
    progress: Progress | None = None,
) -> Scan:
    """Read the header of every audio file in a folder and below.

    Args:
        folder: the folder.
        kind: speech, noise, music, rir or pair.
        group: function from a path relative to the folder to its speaker or class; None takes the speaker of
            `folder_speaker`, with a note where there are several, and the class from the file's folder.
        split: one split for all, or "auto": by speaker for speech of three or more speakers, else by file.
        source, licence: for the list of sources; the folder's name when empty.
        keep: function from a relative path to whether the file is used.
        progress: called while reading.
    Raises:
        InputError: the folder does not exist, or holds no audio that can be read.
    """
    folder = Path(folder).resolve()
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    # Packs of room responses are .npz files.
    found = walk(folder, lambda p: is_readable_name(p) or (kind == "rir" and p.suffix == ".npz"))
    files = sorted(p for p in found if keep(p.relative_to(folder)))
    guess = folder_speaker(files) if kind in SPOKEN else lambda path: path.parent.name
    result = Scan([])
    with ThreadPoolExecutor(min(16, 2 * core_count())) as pool:
        for done, (path, facts) in enumerate(zip(files, pool.map(_header, files), strict=True), start=1):
            if isinstance(facts, str):
                result.unreadable[str(path)] = facts
            else:
                name = group(path.relative_to(folder)) if group else guess(path)
                result.entries.append(
                    Entry(path, kind, name, *facts, "train", source or folder.name, licence)
                )
            if progress:
                progress(done, len(files))
    if not result.entries:
        reason = next(
            iter(result.unreadable.values()), "no file's name ends like audio (.wav, .flac, .ogg, ...)"
        )
        raise InputError(f"{folder}: no audio found: {reason}{media_hint(folder)}")
    if kind in SPOKEN and group is None and len({e.group for e in result.entries}) > 1:
        first = result.entries[0]
        result.notes.append(
            f"speakers are names of folders, such as {first.group} of"
            f" {first.path.relative_to(folder).as_posix()}; --speaker-pattern finds others"
        )
    result.assign(split)
    return result


def folder_speaker(paths: Sequence[Path]) -> Callable[[Path], str]:
    """Return a function that guesses the speaker of one of these files: the name of one of its folders.

    The speakers are the first level of folders, from the top, that has `DIVISIBLE_SPEAKERS` names or more. A
    level whose names are all those of parts of a corpus (`SUBSET`) counts only if no other has as many; if
    none has, the level with the most names is taken. What is below a speaker are its sessions, chapters or
    formats: too large a group puts no voice into two splits, too small a one does.
    """
    folders = {path.parent.parts for path in paths}
    levels = [set(names) - {""} for names in itertools.zip_longest(*folders, fillvalue="")]
    several = [n for n, names in enumerate(levels) if len(names) >= DIVISIBLE_SPEAKERS]
    of_speakers = [n for n in several if not all(map(SUBSET.match, levels[n]))]
    most = max(range(len(levels)), key=lambda n: (len(levels[n]), n), default=0)
    level = [*of_speakers, *several, most][0]

    def speaker(path: Path) -> str:
        parts = path.parent.parts
        return parts[min(level, len(parts) - 1)]

    return speaker


def assign_splits(
    entries: Sequence[Entry], split: Assignment, shares: dict[str, float] | None = None
) -> list[Entry]:
    """Assign a split to each entry: the one named, or one by the hash of its name, which is always the same.

    Units (speakers of speech where there are three or more, files otherwise) are taken in the order of the
    hashes of their names until validation and then test have their share of the seconds, one unit at least.
    A unit that would bring a split to twice its share is skipped; if all would, the shortest is taken.

    Args:
        shares: shares of valid and test, 0 to 1; 0.05 each if None.
    """
    if split != "auto":
        return [replace(e, split=split) for e in entries]
    speakers = {e.group for e in entries if e.kind in SPOKEN}
    by_speaker = len(speakers) >= DIVISIBLE_SPEAKERS
    seconds: dict[str, float] = defaultdict(float)
    names = [e.group if by_speaker else "/".join(e.path.parts[-2:]) for e in entries]
    for name, entry in zip(names, entries, strict=True):
        seconds[name] += max(entry.seconds, 1e-3)
    order = sorted(seconds, key=lambda name: hashlib.sha256(os.fsencode(name)).hexdigest())
    total = sum(seconds.values())
    chosen: dict[str, str] = {}
    for label, share in (shares or SHARES).items():
        taken = 0.0
        # At least one unit stays for training.
        while order and len(order) > 1 and taken < share * total:
            fitting = [name for name in order if taken + seconds[name] <= 2 * share * total]
            if taken and not fitting:
                break
            name = fitting[0] if fitting else min(order, key=lambda name: seconds[name])
            order.remove(name)
            taken += seconds[name]
            chosen[name] = label
    return [replace(e, split=chosen.get(name, "train")) for name, e in zip(names, entries, strict=True)]


def lone_speakers(entries: Sequence[Entry]) -> list[str]:
    """Return messages on splits with a single speaker, which makes no mixture."""
    speakers: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        if entry.kind in SPOKEN:
            speakers[entry.split].add(entry.group)
    return [
        f"{split} has one speaker ({', '.join(found)}): separation and personalised denoising need two or"
        " more in each split; the column `split` may be edited"
        for split, found in sorted(speakers.items())
        if len(found) == 1
    ]


def uneven_splits(entries: Sequence[Entry]) -> list[str]:
    """Return messages on splits whose share of the seconds differs from `SHARES`."""
    total = sum(e.seconds for e in entries)
    notes = []
    for label, share in SHARES.items():
        found = sum(e.seconds for e in entries if e.split == label) / total if total else 0.0
        if not share / 2 <= found <= 2 * share:
            units = len({e.group for e in entries})
            notes.append(
                f"{label} has {found:.0%} of the seconds, where {share:.0%} was meant: {len(entries)} files"
                f" of {units} speakers or classes divide no better; the column `split` may be edited"
            )
    return notes


def by_pattern(pattern: str) -> Callable[[Path], str]:
    """Return a function that finds the speaker in a relative path by a regular expression: its group
    `speaker`, else its first group, else the whole match.

    Raises:
        InputError: the expression is invalid, or does not match a path when the function is called.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise InputError(f"the pattern '{pattern}' is no regular expression: {error}") from error

    def speaker(path: Path) -> str:
        match = expression.search(path.as_posix())
        if match is None:
            raise InputError(
                f"the pattern '{pattern}' does not match {path.as_posix()}: it must match every file"
            )
        if "speaker" in expression.groupindex:
            return str(match["speaker"])
        return str(match[1] if expression.groups else match[0])

    return speaker


def _header(path: Path) -> tuple[int, float] | str:
    """Return (sample rate, seconds), or why the file cannot be used."""
    try:
        if path.suffix == ".npz":
            pack = read_pack(path)
            return pack.sample_rate, float(pack.lengths.sum()) / pack.sample_rate
        info = measure(path)
    except InputError as error:
        return str(error)
    return (info.sample_rate, info.seconds) if info.seconds else f"{path}: holds no samples"
