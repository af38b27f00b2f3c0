"""The material of a split: pools of speech, noise, rooms and pairs, opened from the recipe's manifests."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from audiotool.data.clips import Clips, DecodedClips, FileClips, Samples, Targets
from audiotool.data.config import AudioConfig, DataConfig, Kind, Split, cache_folder
from audiotool.data.entry import Entry
from audiotool.data.pairs import PAIR_TOLERANCE_SECONDS
from audiotool.data.rooms import Rooms
from audiotool.data.rows import select
from audiotool.errors import InputError
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

    def clips(paths: Sequence[Path], targets: Sequence[Targets] = ()) -> Clips:
        if data.decode_once:
            return DecodedClips(paths, audio.sample_rate, cache_folder(data), progress, targets)
        return FileClips(paths, audio.sample_rate, targets)

    def pool(kind: Kind) -> Pool | None:
        entries = select(data, audio, kind, split, required=kind in needs)
        if not entries:
            return None
        found = Pool(entries, clips([e.path for e in entries]), data.balance)
        _require_readable(found.clips, kind, split)
        return found

    mixing = data.mixing if split == "train" else data.evaluation
    rir = select(data, audio, "rir", split, required=bool(data.rir) and mixing.reverberation_probability > 0)
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
    entries = select(data, audio, "pairs", split, required)
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


def _require_readable(clips: Clips, kind: str, split: str) -> None:
    if not clips.lengths.any():
        reason = next(iter(clips.unreadable.values()), "all are empty")
        raise InputError(
            f"data.{kind}: none of the {len(clips.paths)} files of '{split}' can be read: {reason}"
        )
