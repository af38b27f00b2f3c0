"""Manifests: CSV files that describe audio files, one a row.

Columns: path (relative to the manifest's folder, or absolute), kind (speech, noise, music, rir, pair),
speaker_or_class, sample_rate (Hz), seconds, split, source, licence; a pair has `target` too, the paths of its
clean files joined by "|"; speech may have `bandwidth_hz`, its highest frequency
(scripts/measure_bandwidth.py). Only `path` is required; other columns are ignored. Each row has a cell for
each column, perhaps an empty one. Columns may be separated by semicolons or tabs, too, as spreadsheets write
them, with decimal commas. The text is UTF-8, or UTF-16 with a byte order mark. The index.csv of `data mix` is
a manifest of pairs, whose columns `noisy`, `clean` and `speech` stand for `path`, `target` and
`speaker_or_class`.
"""

from __future__ import annotations

import csv
import io
import logging
import math
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from audiotool.atomic import write_text
from audiotool.csv_documents import csv_text, decoded, separator_of
from audiotool.data.entry import Entry
from audiotool.data.scan import SPOKEN, assign_splits, folder_speaker, scan
from audiotool.errors import InputError
from audiotool.paths import path_from
from audiotool.text import csv_cell, from_csv_cell

log = logging.getLogger(__name__)

COLUMNS = (
    "path",
    "target",
    "kind",
    "speaker_or_class",
    "sample_rate",
    "seconds",
    "split",
    "source",
    "licence",
)
BANDWIDTH = "bandwidth_hz"
"""A column that is written if a file has a value for it."""
FIRST_COLUMNS = {"path", "noisy"}
"""Columns of which a manifest has one."""
NUMBERS = ("sample_rate", "seconds", BANDWIDTH)
KINDS = {"speech": ("speech",), "noise": ("noise", "music"), "rir": ("rir",), "pairs": ("pair",)}


MAX_RATE = 10_000_000
MAX_SHOWN = 200
"""Number of characters of a first line that a message quotes."""


def read_manifest(path: Path | str, kind: str = "speech") -> list[Entry]:
    """Read a manifest, or scan a folder.

    Args:
        path: CSV file or folder.
        kind: kind of rows without one, and of the files of a folder.
    Raises:
        InputError: missing, not a CSV with a `path` column, or a row with a bad number or with more or fewer
            cells than columns; the message names the line.
    """
    path = Path(path)
    if path.is_dir():
        found = scan(path, kind=kind)
        for reason in found.unreadable.values():
            log.warning("left out: %s", reason)
        return found.entries
    try:
        data = path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            f"{path}: cannot read the manifest ({reason}): make one with `audiotool data scan`"
        ) from error
    line = 1
    try:
        text = decoded(data)
        separator = separator_of(text.split("\n", 1)[0], FIRST_COLUMNS) or ","
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        columns = next(lines, [])
        if FIRST_COLUMNS.isdisjoint(columns):
            there = ", ".join(columns or ["nothing"])[:MAX_SHOWN]
            raise InputError(
                f"{path}: not a manifest: the first line must name the columns, `path` among them"
                f" (found: {there}); `audiotool data scan` writes one"
            )
        # Once, because it asks the file system.
        folder = path.resolve().parent
        entries = []
        line = lines.line_num + 1
        for cells in lines:
            if cells:
                entries.append(_entry(_row(columns, cells, separator), path, folder, line, kind))
            line = lines.line_num + 1
        return _with_speakers(entries)
    except csv.Error as error:
        raise InputError(
            f"{path}, line {line}: {error}: perhaps a quotation mark is missing or too many"
        ) from error
    except ValueError as error:
        raise InputError(f"{path}, line {line}: {error}: the line is damaged") from error


def _row(columns: Sequence[str], cells: Sequence[str], separator: str) -> dict[str, str]:
    """Return the text of each column.

    Raises:
        ValueError: there are more cells or fewer, or one holds other rows.
    """
    if len(cells) != len(columns):
        raise ValueError(f"{len(cells)} cells for {len(columns)} columns")
    if any("\n" in cell or "\r" in cell for cell in cells) and _hold_rows(columns, cells, separator):
        raise ValueError("a quotation mark begins a cell that holds the next rows")
    row = dict(zip(columns, map(from_csv_cell, cells), strict=True))
    if separator != ",":
        row |= {name: row[name].replace(",", ".") for name in NUMBERS if name in row}
    if "path" not in row:
        # Of an index of `data mix`: its noisy files must not serve as speech.
        row |= {"path": row["noisy"], "target": row.get("clean", ""), "kind": "pair"}
        row.setdefault("speaker_or_class", row.get("speech", ""))
    return row


def _hold_rows(columns: Sequence[str], cells: Sequence[str], separator: str) -> bool:
    """Return whether cells without their quotation marks are several rows, each with the name of a file.

    Such are the rows between two stray marks; names and transcripts may have line breaks and commas.
    """
    rows = [line.split(separator) for line in re.split("[\r\n]+", separator.join(cells)) if line]
    place = columns.index("path" if "path" in columns else "noisy")
    return len(rows) > 1 and all(
        len(row) >= len(columns) and re.search(r"\.\w+$", row[place].strip()) for row in rows
    )


def _entry(row: dict[str, str], manifest: Path, folder: Path, line: int, kind: str) -> Entry:
    def absolute(name: str) -> Path:
        return Path(os.path.normpath(folder / name))

    try:
        rate, seconds = int(float(row.get("sample_rate") or 0)), float(row.get("seconds") or 0)
        bandwidth_hz = float(row.get(BANDWIDTH) or 0)
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"{manifest}, line {line}: sample_rate and seconds must be numbers, as {BANDWIDTH} ({error})"
        ) from error
    if not 0 <= rate <= MAX_RATE or not all(0 <= value < math.inf for value in (seconds, bandwidth_hz)):
        raise InputError(
            f"{manifest}, line {line}: sample_rate must be 0 (unknown) to {MAX_RATE}, seconds and {BANDWIDTH}"
            f" 0 or more, found {rate}, {seconds} and {bandwidth_hz}"
        )
    if not row["path"] or "\0" in f"{row['path']}{row.get('target')}":
        raise InputError(f"{manifest}, line {line}: the path is empty, or no path")
    return Entry(
        path=absolute(row["path"]),
        kind=row.get("kind") or kind,
        group=row.get("speaker_or_class") or Path(row["path"]).parent.name,
        sample_rate=rate,
        seconds=seconds,
        split=row.get("split") or "train",
        source=row.get("source") or manifest.parent.name,
        licence=row.get("licence") or "unknown",
        targets=tuple(absolute(t) for t in (row.get("target") or "").split("|") if t),
        bandwidth_hz=bandwidth_hz,
        is_named=bool(row.get("speaker_or_class")),
    )


def _with_speakers(entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries, those of unnamed speakers with the one that `scan` would guess."""

    def is_unnamed(entry: Entry) -> bool:
        return entry.kind in SPOKEN and not entry.is_named

    guess = folder_speaker([e.path for e in entries if is_unnamed(e)])
    return [replace(e, group=guess(e.path)) if is_unnamed(e) else e for e in entries]


def read_all(paths: Sequence[Path | str], kind: str = "speech") -> list[Entry]:
    """Read several manifests and folders, in order.

    The folders are divided into splits as one folder of all their files is: a speaker has one split.

    Raises:
        InputError: as `read_manifest`.
    """
    parts = [(Path(path).is_dir(), read_manifest(path, kind)) for path in paths]
    scanned = [entry for is_folder, part in parts if is_folder for entry in part]
    divided = iter(assign_splits(scanned, "auto"))
    return [next(divided) if is_folder else entry for is_folder, part in parts for entry in part]


def read_for(use: str, paths: Sequence[Path | str]) -> list[Entry]:
    """Read the rows of manifests and folders that a recipe's `data.speech`, `noise`, `rir` or `pairs` uses.

    Raises:
        InputError: as `read_manifest`.
    """
    kinds = KINDS[use]
    return [entry for entry in read_all(paths, kinds[0]) if entry.kind in kinds]


def write_manifest(path: Path | str, entries: Sequence[Entry]) -> None:
    """Write entries with paths relative to the manifest's folder, complete or not at all.

    Paths of files on another drive of Windows are absolute.

    Raises:
        InputError: the folder cannot be written.
    """
    path = Path(path).absolute()

    rows = [
        {
            "path": path_from(path.parent, e.path).as_posix(),
            "target": "|".join(path_from(path.parent, t).as_posix() for t in e.targets),
            "kind": e.kind,
            "speaker_or_class": e.group,
            "sample_rate": e.sample_rate,
            "seconds": f"{e.seconds:.3f}",
            "split": e.split,
            "source": e.source,
            "licence": e.licence,
            BANDWIDTH: f"{e.bandwidth_hz:.0f}" if e.bandwidth_hz else "",
        }
        for e in entries
    ]
    columns = [*COLUMNS, BANDWIDTH] if any(e.bandwidth_hz for e in entries) else COLUMNS
    lines = ([csv_cell(row[name]) for name in columns] for row in rows)
    write_text(path, csv_text([columns, *lines]))
