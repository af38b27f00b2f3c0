"""Expand files, folders and patterns to input files."""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

from audiotool.audio import PIPE, remote
from audiotool.audio.formats import BARE_ENDINGS, MEDIA_ENDINGS, has_pyav, is_bare_name, needs_media
from audiotool.audio.walk import MEDIA_CLAUSE, OF_SYSTEM, special_kind, walk, warn_of_media
from audiotool.batch.missing import meant_by
from audiotool.errors import PlanError
from audiotool.files.kinds import Inputs
from audiotool.paths import MISSING, Folders, absence, are_one, is_below, is_url, like_named, resolved
from audiotool.text import listed

log = logging.getLogger(__name__)

BARE_CLAUSE = "bare samples do not say what they are: give for example --raw mulaw --raw-rate 8000"
"""What an error or a warning adds where files of bare samples are left out."""


class Found(NamedTuple):
    """An input file.

    Args:
        path: the file; a URL is text, because the key of an object is no path.
        relative: its path below the folder in which it was found; its name where the user named it.
        given: True when the user named it, False when it was found in a folder or by a pattern.
        obstacle: reason why it is a folder of which nothing can be read; "" for a file.
    """

    path: str | Path
    relative: PurePath
    given: bool = False
    obstacle: str = ""


def find_inputs(inputs: Sequence[str], outputs: Iterable[str], kind: Inputs) -> list[Found]:
    """Expand inputs to files, in sorted order and without repeats; name folders without any.
    Folders that cannot be read are among the inputs, with the reason.

    Of a file and links to it in folders the file itself is an input, under its own name, and a warning names
    the links. Links that the user named are inputs.

    Args:
        inputs: files, folders, patterns and URLs of the command line.
        outputs: folders of outputs, or their URLs. Files below them that folders and patterns find are left
            out, so that a second run does not take outputs for inputs.
        kind: the kind of the inputs.
    Raises:
        PlanError: an input does not exist, no file has an ending of the kind, or the only input cannot be
            looked at.
        InputError: a store cannot be reached, or has nothing there.
    """
    places = list(map(resolved, outputs))
    expanded = {text: _expand(text, places, kind.endings) for text in inputs}
    missing = [text for text, of_text in expanded.items() if of_text is None]
    if missing:
        hint = _hint(missing, places) or meant_by(missing, inputs, bool(places), kind.endings)
        raise PlanError(f"no such input: {listed(missing)}{hint}")
    found = [f for of_text in expanded.values() for f in of_text or ()]
    if not found:
        raise PlanError(f"no {kind.noun} in {listed(inputs)}{_hint(inputs, places)}")
    empty = [text for text, of_text in expanded.items() if not of_text]
    if empty:
        log.warning("no %s in %s%s", kind.noun, listed(empty), _hint(empty, places))
    only = found[0].path
    if len(found) == 1 and not is_url(only) and (reason := absence(only)) is not None:
        raise PlanError(f"{only}: {reason}")
    return _without_repeats(found)


def spelling(place: str | Path) -> str:
    """Return what all spellings of a place share, but for links, which are places of their own."""
    return resolved(place) if is_url(place) else os.path.abspath(place)


def _without_repeats(found: Sequence[Found]) -> list[Found]:
    """Return each file once: the first of its paths that is no link, or else the first. Links that the user
    named stay."""
    folders = Folders()
    reals = [folders.real(f.path) for f in found]
    unique: dict[str, Found] = {}
    for real, f in zip(reals, found, strict=True):
        if real not in unique or (os.path.islink(unique[real].path) and not os.path.islink(f.path)):
            unique[real] = f
    named = {spelling(f.path) for f in found if f.given}
    kept: dict[str, Found] = {}
    links: list[str] = []
    for real, f in zip(reals, found, strict=True):
        place, own = spelling(f.path), unique[real]
        is_other_link = own is not f and place not in kept and os.path.islink(f.path)
        if own is f or (is_other_link and f.given):
            kept[place] = f
        elif is_other_link and place not in named:
            links.append(f"{f.path} ({'the same file as' if os.path.islink(own.path) else 'to'} {own.path})")
    if links:
        log.warning("left out, as links to files of other inputs: %s", listed(links))
    return list(kept.values())


def _expand(text: str, places: Sequence[str], reads: Sequence[str]) -> list[Found] | None:
    """Expand one input; return None when it does not exist."""
    if is_url(text):
        below = remote.find(text, reads, _others(places, text))
        return [Found(url, relative, given=url == text) for url, relative in below]
    path = like_named(Path(text))
    if str(path) == PIPE:
        # "./-" names a file, and "-" standard input.
        path = path.absolute()
    if os.path.isdir(path):
        return _in_folder(path, _others(places, path), reads)
    # Of what may not be looked at, or has too long a path, its job says so.
    if absence(path) != MISSING:
        return [Found(path, Path(path.name), given=True)]
    return (_in_pattern(text, places, reads) or None) if glob.has_magic(text) else None


def _hint(inputs: Sequence[str], places: Sequence[str]) -> str:
    """Return what lets the recordings there be read: an extra to install, or the format of bare samples."""
    if not has_pyav() and any(_expand(text, places, MEDIA_ENDINGS) for text in inputs):
        return MEDIA_CLAUSE
    if any(_expand(text, places, tuple(BARE_ENDINGS)) for text in inputs):
        return f"; {BARE_CLAUSE}"
    return ""


def _others(places: Sequence[str], folder: str | Path) -> list[str]:
    """Return the places that do not contain the folder, because the user means inputs in a place that
    does."""
    real = resolved(folder)
    return [place for place in places if not is_below(real, place)]


def _in_folder(folder: Path, excluded: Sequence[str], reads: Sequence[str]) -> list[Found]:
    bare: list[str] = []

    def wanted(path: Path) -> bool:
        is_read = path.suffix.lower() in reads
        if not is_read and is_bare_name(path):
            bare.append(str(path))
        return is_read

    def entered(below: Path) -> bool:
        real = os.path.realpath(below)
        return not any(are_one(real, place) for place in excluded)

    denied: dict[Path, str] = {}
    paths = walk(folder, wanted, entered, denied)
    # Where nothing is found, the error says so.
    if bare and paths:
        log.warning("left out: %s; %s", listed(bare), BARE_CLAUSE)
    closed = {path: f"cannot read the folder {path}: {reason}" for path, reason in denied.items()}
    return [
        Found(path, path.relative_to(folder), obstacle=closed.get(path, "")) for path in (*paths, *closed)
    ]


def _in_pattern(pattern: str, places: Sequence[str], reads: Sequence[str]) -> list[Found]:
    fixed: list[str] = []
    for part in Path(pattern).parts[:-1]:
        if glob.has_magic(part):
            break
        fixed.append(part)
    base = Path(*fixed) if fixed else Path()
    excluded = _others(places, base)
    found: list[Found] = []
    unread: list[Path] = []
    for match in sorted(glob.glob(pattern, recursive=True)):
        path = Path(match)
        real = os.path.realpath(path)
        if path.name in OF_SYSTEM or any(is_below(real, place) for place in excluded):
            continue
        if os.path.isdir(path):
            found += [
                f._replace(relative=path.relative_to(base) / f.relative)
                for f in _in_folder(path, excluded, reads)
            ]
        elif path.suffix.lower() in reads:
            kind = special_kind(path)
            if kind is None:
                found.append(Found(path, path.relative_to(base)))
            else:
                log.warning("left out: %s (%s)", path, kind)
        elif needs_media(path):
            unread.append(path)
    if unread and found:
        warn_of_media(unread)
    return found
