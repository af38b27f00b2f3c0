"""The material of a split: pools of speech, noise, rooms and pairs, opened from the recipe's manifests."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import get_args

import numpy as np

from audiotool.data.clips import Clips, DecodedClips, FileClips, Samples, Targets
from audiotool.data.config import SCAN_PAIRS, AudioConfig, DataConfig, Kind, Split, cache_folder
from audiotool.data.entry import Entry
from audiotool.data.manifest import KINDS, read_all, read_for
from audiotool.data.pairs import PAIR_TOLERANCE_SECONDS
from audiotool.data.rooms import Rooms
from audiotool.data.scan import DIVISIBLE_SPEAKERS
from audiotool.errors import InputError, RecipeError
from audiotool.progress import Progress

log = logging.getLogger(__name__)


class Pool:
    """Recordings that can be drawn, grouped by speaker or class.

    Args:
        entries: descriptions of the clips.
        clips: the sound.
        balance: 0 draws by duration, 1 draws every group equally often.
    """

    def __init__(self, entries: Sequence[Entry], clips: Clips, balance: float) -> None:
        self.entries = list(entries)
        self.clips = clips
        usable = [i for i, length in enumerate(clips.lengths) if length > 0]
        members: dict[str, list[int]] = defaultdict(list)
        for i in usable:
            members[entries[i].group].append(i)
        self.groups = sorted(members)
        self._places = {g: place for place, g in enumerate(self.groups)}
        self._members = [np.array(members[g]) for g in self.groups]
        self._within = [np.cumsum(clips.lengths[m]) for m in self._members]
        durations = np.array([c[-1] for c in self._within], dtype=np.float64)
        self._weights = durations ** (1 - balance)

    def __len__(self) -> int:
        return sum(len(m) for m in self._members)

    @property
    def frames(self) -> int:
        """Number of samples of all recordings."""
        return int(self.clips.lengths.sum())

    def draw_group(self, rng: np.random.Generator, avoid: Sequence[str] = ()) -> str:
        """Draw a speaker or class, if possible none of those to avoid."""
        weights, avoided = self._weights, set(avoid)
        if avoided:
            allowed = np.array([g not in avoided for g in self.groups])
            weights = weights * allowed if allowed.any() else weights
        edges = np.cumsum(weights)
        return self.groups[int(np.searchsorted(edges, rng.random() * edges[-1], side="right"))]

    def files(self, group: str) -> set[str]:
        """Return the paths of a group's recordings."""
        return {str(self.entries[i].path) for i in self._members[self._places[group]]}

    def draw(self, rng: np.random.Generator, group: str, avoid: Sequence[str] = ()) -> int:
        """Draw a recording of a group, with a probability proportional to its length.

        Args:
            avoid: paths that are not drawn; the group must have others.
        """
        g = self._places[group]
        members, edges = self._members[g], self._within[g]
        if avoid:
            allowed = [str(self.entries[i].path) not in avoid for i in members]
            edges = np.cumsum(self.clips.lengths[members] * allowed)
        return int(members[np.searchsorted(edges, rng.random() * edges[-1], side="right")])


@dataclass
class Pairs:
    """Recordings with their targets: the targets of inputs[i] are targets[s][i] for each stem s."""

    entries: list[Entry]
    inputs: Clips
    targets: list[Clips]

    @cached_property
    def usable(self) -> list[int]:
        """Indices whose input and targets can all be read."""
        lengths = np.stack([self.inputs.lengths, *(t.lengths for t in self.targets)])
        return [int(i) for i in np.flatnonzero(lengths.min(axis=0) > 0)]

    def check(self, sample_rate: int) -> None:
        """Check that recordings and targets are equally long; raises InputError."""
        for i in self.usable:
            for target in self.targets:
                difference = abs(int(self.inputs.lengths[i]) - int(target.lengths[i])) / sample_rate
                if difference > PAIR_TOLERANCE_SECONDS:
                    raise InputError(
                        f"{self.inputs.paths[i]} and its target {target.paths[i]} differ in length by"
                        f" {difference:.3f} s: they are not a pair; correct the files, and make"
                        " the manifest again"
                    )

    def read(self, index: int, start: int, frames: int) -> tuple[Samples, Samples]:
        """Return input (T,) and targets (S, T), with zeros after the end."""
        parts = [clips.read(index, start, frames) for clips in (self.inputs, *self.targets)]
        padded = np.zeros((len(parts), frames), np.float32)
        for row, part in zip(padded, parts, strict=True):
            row[: len(part)] = part
        return padded[0], padded[1:]


@dataclass
class Material:
    """All recordings of one split; what the recipe does not name is None."""

    speech: Pool | None
    noise: Pool | None
    rooms: Rooms | None
    pairs: Pairs | None

    @property
    def sources(self) -> list[Clips | Rooms]:
        """All sets of files."""
        of_pools = [pool.clips for pool in (self.speech, self.noise) if pool]
        of_pairs = [self.pairs.inputs, *self.pairs.targets] if self.pairs else []
        return [*of_pools, *of_pairs, *([self.rooms] if self.rooms else [])]

    @property
    def paths(self) -> list[Path]:
        """The paths of all files, each once."""
        return list(dict.fromkeys(path for source in self.sources for path in source.paths))

    @property
    def unreadable(self) -> dict[str, str]:
        """The files that cannot be used, and why."""
        return {path: reason for source in self.sources for path, reason in source.unreadable.items()}


def open_material(
    data: DataConfig,
    audio: AudioConfig,
    split: Split,
    needs: Sequence[Kind],
    progress: Progress | None = None,
) -> Material:
    """Open the recordings of a split that an example needs.

    Args:
        needs: required kinds; others are opened if the recipe names them.
    Raises:
        RecipeError: a needed kind has no manifest, or none of its rows belongs to the split.
        InputError: a manifest cannot be read, nothing in it can be decoded, or pairs do not match.
    """
    of_speech = audio.sample_rate if data.speech_minimum_rate is None else data.speech_minimum_rate
    minimum = {"speech": of_speech, "noise": data.noise_minimum_rate}

    def clips(paths: Sequence[Path], targets: Sequence[Targets] = ()) -> Clips:
        if data.decode_once:
            return DecodedClips(paths, audio.sample_rate, cache_folder(data), progress, targets)
        return FileClips(paths, audio.sample_rate, targets)

    def pool(kind: Kind) -> Pool | None:
        entries = select(data, kind, split, required=kind in needs, minimum_rate=minimum.get(kind, 0))
        if not entries:
            return None
        found = Pool(entries, clips([e.path for e in entries]), data.balance)
        _require_readable(found.clips, kind, split)
        return found

    mixing = data.mixing if split == "train" else data.evaluation
    rir = select(data, "rir", split, required=bool(data.rir) and mixing.reverberation_probability > 0)
    material = Material(
        speech=pool("speech"),
        noise=pool("noise"),
        rooms=Rooms([e.path for e in rir], audio.sample_rate) if rir else None,
        pairs=_open_pairs(data, audio, split, "pairs" in needs, clips),
    )
    for reason in material.unreadable.values():
        log.warning("left out: %s", reason)
    return material


def _open_pairs(
    data: DataConfig,
    audio: AudioConfig,
    split: Split,
    required: bool,
    clips: Callable[[Sequence[Path], Sequence[Targets]], Clips],
) -> Pairs | None:
    entries = select(data, "pairs", split, required)
    if not entries:
        return None
    stems = len(entries[0].targets)
    for entry in entries:
        if not entry.targets or len(entry.targets) != stems:
            raise InputError(
                f"{entry.path}: its row names {len(entry.targets)} targets, the first row of the pairs"
                f" {stems}: a pair needs `target`, the same number of paths in each row"
            )
    together = [entry.targets for entry in entries]
    targets = [clips([e.targets[s] for e in entries], together) for s in range(stems)]
    pairs = Pairs(entries, clips([e.path for e in entries], together), targets)
    _require_readable(pairs.inputs, "pairs", split)
    pairs.check(audio.sample_rate)
    return pairs


def select(data: DataConfig, kind: Kind, split: Split, required: bool, minimum_rate: int = 0) -> list[Entry]:
    """Return the rows of one kind and split.

    Raises:
        RecipeError: there are none although the recipe names manifests (room responses may be missing unless
            required); the message names the condition that no row meets.
    """
    manifests = getattr(data, kind)
    if not manifests:
        if required:
            raise RecipeError(
                f"data.{kind} is empty: name a manifest (`audiotool data scan` makes one) or a folder"
            )
        return []
    rows = read_all(manifests, KINDS[kind][0])
    of_kind = [e for e in rows if e.kind in KINDS[kind]]
    splits = data.splits.get(split, [split])
    of_split = [e for e in of_kind if e.split in splits]
    kept = [e for e in of_split if not e.matches(data.exclude)]
    high = [e for e in kept if not e.sample_rate or e.sample_rate >= minimum_rate]
    if not high and (required or kind != "rir"):
        splits_there = ", ".join(sorted({e.split for e in of_kind})) or "none"
        reasons = (
            (of_kind, _no_row(kind, {e.kind for e in rows})),
            (of_split, f"the '{split}' split is empty (rows have: {splits_there}); map it with data.splits"),
            (kept, "data.exclude leaves nothing"),
            (
                high,
                f"all have less than {minimum_rate} Hz; lower audio.sample_rate or data.{kind}_minimum_rate",
            ),
        )
        reason = next(text for rows_left, text in reasons if not rows_left)
        raise RecipeError(f"data.{kind}: {reason} ({', '.join(str(m) for m in manifests)})")
    if len(high) < len(kept):
        log.warning(
            "data.%s: %d recordings have less than %d Hz: left out", kind, len(kept) - len(high), minimum_rate
        )
    return high


def split_warnings(data: DataConfig) -> list[str]:
    """Return warnings of recordings and speakers that are in several splits, and of rows that are in none.

    The targets of pairs are recordings too. Manifests of all kinds are looked at together: speech for mixing
    may be the target of a pair. Noises and rooms have classes, which belong into every split, and
    no speakers; nor have rows that name none. Two speakers are too few for `scan` to divide. Speakers of
    folders alone are not looked at: `read_all` divides those of one key together, few of them by file.

    Args:
        data: located, see `DataConfig.located`.
    Raises:
        InputError: a manifest cannot be read.
    """
    if all(path.is_dir() for kind in get_args(Kind) for path in getattr(data, kind)):
        return []
    # A value that the recipe itself gives to two splits counts for the first.
    split_of = {v: split for split in get_args(Split)[::-1] for v in data.splits.get(split, [split])}
    found = []
    files: list[tuple[str, Kind, Split]] = []
    speakers: list[tuple[str, Kind, Split]] = []
    of_manifests: set[str] = set()
    for kind in get_args(Kind):
        paths = getattr(data, kind)
        listed = read_for(kind, [path for path in paths if not path.is_dir()])
        scanned = read_for(kind, [path for path in paths if path.is_dir()])
        rows = [e for e in (*listed, *scanned) if not e.matches(data.exclude)]
        of_manifests.update(speaker for e in listed for speaker in e.speakers)
        unused = Counter(e.split for e in rows if e.split not in split_of)
        found += [
            f"data.{kind}: {count} of {len(rows)} rows have the split '{value}', which data.splits does not"
            " name: they are left out"
            for value, count in unused.items()
        ]
        used = [(e, split_of[e.split]) for e in rows if e.split in split_of]
        files += [(str(path), kind, split) for e, split in used for path in (e.path, *e.targets)]
        speakers += [(speaker, kind, split) for e, split in used for speaker in e.speakers]
    found += _in_several("recordings", files)
    speakers = [use for use in speakers if use[0] in of_manifests]
    if len({speaker for speaker, *_ in speakers}) >= DIVISIBLE_SPEAKERS:
        found += _in_several("speakers", speakers)
    return found


def _in_several(what: str, used: Sequence[tuple[str, Kind, Split]]) -> list[str]:
    """Return a warning of the names that are in several splits, if there are any; it names their kinds."""
    splits: dict[str, set[Split]] = defaultdict(set)
    kinds: dict[str, set[Kind]] = defaultdict(set)
    for name, kind, split in used:
        splits[name].add(split)
        kinds[name].add(kind)
    several = [name for name in splits if len(splits[name]) > 1]
    of_several = set().union(*(kinds[name] for name in several))
    keys = " and ".join(f"data.{kind}" for kind in get_args(Kind) if kind in of_several)
    count = sum(not of_several.isdisjoint(kinds[name]) for name in splits)
    return [
        f"{keys}: {len(several)} of {count} {what} are in several splits, such as {name} in"
        f" {' and '.join(sorted(splits[name]))}: a model is scored on what it has learnt"
        for name in several[:1]
    ]


def _no_row(kind: Kind, there: set[str]) -> str:
    """Return the reason where no row of the manifests is of a kind."""
    scan = SCAN_PAIRS if kind == "pairs" else f"audiotool data scan --kind {KINDS[kind][0]}"
    return (
        f"no row is of kind {' or '.join(KINDS[kind])} (rows have: {', '.join(sorted(there)) or 'none'});"
        f" correct the column kind, or make a manifest with `{scan}`"
    )


def _require_readable(clips: Clips, kind: str, split: str) -> None:
    if not clips.lengths.any():
        reason = next(iter(clips.unreadable.values()), "all are empty")
        raise InputError(
            f"data.{kind}: none of the {len(clips.paths)} files of '{split}' can be read: {reason}"
        )
