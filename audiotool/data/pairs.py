"""Pairs of recordings: files of one name in two folders, such as noisy/a.wav and clean/a.flac."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from audiotool.data.entry import Entry
from audiotool.data.scan import Assignment, Scan, scan
from audiotool.errors import InputError
from audiotool.progress import Progress
from audiotool.text import composed, listed

PAIR_TOLERANCE_SECONDS = 0.01


def scan_pairs(
    folder: Path,
    targets: Path,
    stems: Sequence[str] = (),
    group: Callable[[Path], str] | None = None,
    split: Assignment = "auto",
    source: str = "",
    licence: str = "unknown",
    progress: Progress | None = None,
) -> Scan:
    """Pair the recordings of a folder with their targets, by the path below the folder, suffix aside.

    What has no partner is left out and named in a note. So are recordings whose partner has another sample
    rate or length, each with the reason.

    Args:
        folder: noisy recordings, or mixtures.
        targets: folder of their clean versions; with stems, of NAME.STEM.wav or STEM/NAME.wav.
        stems: names of several targets, in the order of the model's outputs; empty for one target.
        group, split, source, licence: as `scan`.
        progress: called while either folder is read.
    Raises:
        InputError: a folder does not exist, two targets have one name, or there is no pair.
    """
    noisy = scan(folder, "pair", group, "train", source, licence, progress=progress)
    clean = scan(targets, progress=progress)
    by_name = _by_name(targets, clean.entries)
    result = Scan([], noisy.unreadable | clean.unreadable, noisy.notes)
    alone: list[str] = []
    used: set[str] = set()
    for entry in noisy.entries:
        name = _name_in(folder, entry.path)
        choices = [[f"{name}.{stem}", f"{stem}/{name}"] for stem in stems] or [[name]]
        found = [next((n for n in names if n in by_name), "") for names in choices]
        if not all(found):
            alone.append(str(entry.path.relative_to(folder.resolve())))
            continue
        used.update(found)
        partners = [by_name[n] for n in found]
        reason = next((r for partner in partners if (r := mismatch(entry, partner))), "")
        if reason:
            result.unreadable[str(entry.path)] = reason
        else:
            result.entries.append(replace(entry, targets=tuple(partner.path for partner in partners)))
    if not result.entries:
        names = f"NAME.STEM or STEM/NAME for each of {', '.join(stems)}" if stems else "the recording's name"
        reason = next(iter(result.unreadable.values()), f"in {targets} they have {names}, of any format")
        raise InputError(f"{folder}: no recording has a target: {reason}")
    if alone:
        result.notes.append(f"left out, without a target in {targets}: {listed(alone)}")
    unused = [str(e.path.relative_to(targets.resolve())) for n, e in by_name.items() if n not in used]
    if unused:
        result.notes.append(f"left out, targets without a recording in {folder}: {listed(unused)}")
    result.assign(split)
    return result


def mismatch(recording: Entry, partner: Entry) -> str:
    """Return why two recordings are no pair; "" if they are one."""
    if recording.sample_rate != partner.sample_rate:
        return (
            f"{recording.path} has {recording.sample_rate} Hz, its partner {partner.path}"
            f" {partner.sample_rate} Hz: resample one of the folders"
        )
    if abs(recording.seconds - partner.seconds) > PAIR_TOLERANCE_SECONDS:
        return (
            f"{recording.path} lasts {recording.seconds:.3f} s, its partner {partner.path}"
            f" {partner.seconds:.3f} s: they are not a pair"
        )
    return ""


def _by_name(folder: Path, entries: Sequence[Entry]) -> dict[str, Entry]:
    """Return the recordings of a folder by name.

    Raises:
        InputError: two differ in nothing but their suffix.
    """
    found: dict[str, Entry] = {}
    for entry in entries:
        other = found.setdefault(_name_in(folder, entry.path), entry)
        if other is not entry:
            raise InputError(f"{other.path} and {entry.path} have one name: which of them counts?")
    return found


def _name_in(folder: Path, path: Path) -> str:
    """Return the path below a folder without its suffix, which partners share."""
    return composed(path.relative_to(folder.resolve()).with_suffix("").as_posix())
