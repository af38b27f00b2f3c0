"""Which rows of a recipe's manifests a split uses: one rule for what is opened, listed and warned of."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

from audiotool.data.config import SCAN_PAIRS, AudioConfig, DataConfig, Kind, Split
from audiotool.data.entry import Entry
from audiotool.data.manifest import KINDS, read_all, read_for
from audiotool.data.scan import DIVISIBLE_SPEAKERS
from audiotool.errors import RecipeError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rows:
    """The rows of all manifests of one kind, narrowed step by step; a split uses the last."""

    of_manifests: list[Entry]
    of_kind: list[Entry]
    of_split: list[Entry]
    kept: list[Entry]
    used: list[Entry]

    @classmethod
    def of(cls, rows: list[Entry], data: DataConfig, audio: AudioConfig, kind: Kind, split: Split) -> Rows:
        """Return the rows with those of the kind and the split, that are not excluded, that have the least
        sample rate."""
        splits, least = data.splits.get(split, [split]), minimum_rate(data, audio, kind)
        of_kind = [e for e in rows if e.kind in KINDS[kind]]
        of_split = [e for e in of_kind if e.split in splits]
        kept = [e for e in of_split if not e.matches(data.exclude)]
        return cls(rows, of_kind, of_split, kept, [e for e in kept if e.has_rate(least)])


def minimum_rate(data: DataConfig, audio: AudioConfig, kind: Kind) -> int:
    """Return the sample rate in Hz below which recordings of a kind are left out; 0 leaves none out."""
    of_speech = audio.sample_rate if data.speech_minimum_rate is None else data.speech_minimum_rate
    return {"speech": of_speech, "noise": data.noise_minimum_rate}.get(kind, 0)


def is_drawn_from(data: DataConfig, kind: Kind, split: Split) -> bool:
    """Return whether examples of a split may draw from a kind: not from rooms and pairs that have no
    probability."""
    mixing = data.mixing if split == "train" else data.evaluation
    if kind == "rir":
        in_rooms = (mixing.reverberation_probability, mixing.noise_reverberation_probability)
        return any((*in_rooms, mixing.babble_probability))
    return kind != "pairs" or not data.speech or data.pairs_probability > 0


def select(data: DataConfig, audio: AudioConfig, kind: Kind, split: Split, required: bool) -> list[Entry]:
    """Return the rows of one kind that a split uses.

    Raises:
        RecipeError: there are none although the recipe names manifests (room responses may be missing unless
            required); the message names the condition that no row meets.
        InputError: a manifest cannot be read.
    """
    manifests = getattr(data, kind)
    if not manifests:
        if required:
            raise RecipeError(
                f"data.{kind} is empty: name a manifest (`audiotool data scan` makes one) or a folder"
            )
        return []
    rows = Rows.of(read_all(manifests, KINDS[kind][0]), data, audio, kind, split)
    least = minimum_rate(data, audio, kind)
    if not rows.used and (required or kind != "rir"):
        splits_there = ", ".join(sorted({e.split for e in rows.of_kind})) or "none"
        reasons = (
            (rows.of_kind, _no_row(kind, {e.kind for e in rows.of_manifests})),
            (
                rows.of_split,
                f"the '{split}' split is empty (rows have: {splits_there}); map it with data.splits",
            ),
            (rows.kept, "data.exclude leaves nothing"),
            (
                rows.used,
                f"all have less than {least} Hz; lower audio.sample_rate or data.{kind}_minimum_rate",
            ),
        )
        reason = next(text for rows_left, text in reasons if not rows_left)
        raise RecipeError(f"data.{kind}: {reason} ({', '.join(str(m) for m in manifests)})")
    if lower := len(rows.kept) - len(rows.used):
        log.warning("data.%s: %d recordings have less than %d Hz: left out", kind, lower, least)
    return rows.used


def sources(data: DataConfig, audio: AudioConfig, splits: Sequence[Split]) -> list[dict[str, Any]]:
    """Return {"name", "licence", "seconds"} of every source and licence that these splits use.

    A recording in several manifests counts once.

    Args:
        data: located, see `DataConfig.located`.
    Raises:
        InputError: a manifest cannot be read.
    """
    drawn = {
        (entry.path, entry.source, entry.licence): entry.seconds
        for kind in get_args(Kind)
        for rows in [read_for(kind, getattr(data, kind))]
        for split in splits
        if is_drawn_from(data, kind, split)
        for entry in Rows.of(rows, data, audio, kind, split).used
    }
    seconds: dict[tuple[str, str], float] = defaultdict(float)
    for (_, source, licence), length in drawn.items():
        seconds[source, licence] += length
    return [{"name": n, "licence": c, "seconds": round(s, 1)} for (n, c), s in sorted(seconds.items())]


def split_warnings(data: DataConfig, audio: AudioConfig) -> list[str]:
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
        least = minimum_rate(data, audio, kind)
        rows = [e for e in (*listed, *scanned) if e.has_rate(least) and not e.matches(data.exclude)]
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
