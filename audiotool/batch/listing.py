"""Lists of recordings: a path a line, or a CSV that also names each recording's output and reference."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from audiotool.audio import PIPE, STANDARD_INPUT
from audiotool.csv_documents import decoded, separator_of
from audiotool.errors import PlanError
from audiotool.paths import is_url, place_of_key, refuse_url
from audiotool.text import without_credentials

COLUMNS = ("input", "output", "reference")


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a list. Paths are as written; relative ones start from the current folder.

    Args:
        input: the recording; "" where a list of what is scored does not name it.
        output: path of the output; None where the command's options give it.
        reference: path of the clean version; None where the command's options give it.
        source, line: name of the list, and number of the line from 1 on. They do not count where entries are
            compared.
    """

    input: str
    output: str | None = None
    reference: str | None = None
    source: str = field(default="", compare=False)
    line: int = field(default=0, compare=False)

    @property
    def place(self) -> str:
        """Where the entry is, for messages."""
        return f"{self.source}: line {self.line}"


def read_list(source: str, required: str = "input") -> list[Entry]:
    """Return the entries of a list, in their order.

    A list whose first line names columns ("input", "output", "reference") is a CSV, in which one column is
    required and the others may be missing or empty. Its columns are separated by commas, semicolons or tabs;
    spaces around names and values do not count, unless an input or a reference has that name. Any other list
    has a path of an input a line, or where it holds a NUL (`find -print0`) a path between NULs. Empty lines
    are left out. A list is UTF-8, and bytes that are not are kept; with a byte order mark it may be UTF-16,
    as Excel and PowerShell write it.

    Args:
        source: a file, or "-" for standard input.
        required: the column that every line of a CSV must have.
    Raises:
        PlanError: the list cannot be read, is empty, or has a line that is no entry.
    """
    refuse_url(source, "--list takes a path")
    name = STANDARD_INPUT if source == PIPE else source
    text = _read(source, name)
    separator = separator_of(text.split("\n", 1)[0], COLUMNS)
    if separator is not None:
        entries = list(_from_csv(text, separator, name, required))
    elif source.lower().endswith(".csv"):
        raise PlanError(f"{source}: the first line of a CSV list names its columns: {', '.join(COLUMNS)}")
    else:
        paths = text.split("\0") if "\0" in text else (line.removesuffix("\r") for line in text.split("\n"))
        entries = [Entry(p, source=name, line=n) for n, p in enumerate(paths, start=1) if p.strip()]
    if not entries:
        raise PlanError(f"{name} lists nothing")
    for entry in entries:
        if PIPE in (entry.input, entry.output):
            raise PlanError(f"{entry.place}: standard input and output ('-') cannot be listed")
    return entries


def _read(source: str, name: str) -> str:
    try:
        data = sys.stdin.buffer.read() if source == PIPE else Path(source).read_bytes()
    except OSError as error:
        raise PlanError(f"cannot read the list {source}: {error.strerror}") from error
    try:
        return decoded(data)
    except ValueError as error:
        raise PlanError(f"{name}: {error}") from error


def _from_csv(text: str, separator: str, source: str, required: str) -> Iterator[Entry]:
    import csv

    rows = text.splitlines(keepends=True)
    lines = csv.reader(rows, delimiter=separator, skipinitialspace=True, strict=True)
    try:
        names = [name.strip().lower() for name in next(lines)]
        unknown = [name for name in names if name not in COLUMNS]
        if unknown or len(set(names)) < len(names):
            raise PlanError(
                f"{source}: a list has the columns {', '.join(COLUMNS)}, each once, not {','.join(names)}"
            )
        if required not in names:
            raise PlanError(f"{source}: the column {required} is missing; it has {', '.join(names)}")
        for values in lines:
            if not any(map(str.strip, values)):
                continue
            row = dict(zip(names, values, strict=False))
            if len(values) != len(names):
                raise PlanError(f"{source}: line {lines.line_num} does not fit its columns {','.join(names)}")
            # Outputs need not exist, so that nothing tells whether spaces belong to their names.
            row = {name: v.strip() if name == "output" else _as_named(v) for name, v in row.items()}
            if not row[required]:
                raise PlanError(f"{source}: line {lines.line_num} has no {required}")
            if "\0" in "".join(values):
                raise PlanError(f"{source}: line {lines.line_num} holds a NUL, which no path does")
            output, reference = row.get("output") or None, row.get("reference") or None
            yield Entry(row.get("input", ""), output, reference, source=source, line=lines.line_num)
    except csv.Error as error:
        raise PlanError(f"{source}: line {lines.line_num} is no CSV: {error}") from error


def _as_named(value: str) -> str:
    """Return a path as it is written if something has that name, otherwise without the spaces around it."""
    bare = value.strip()
    return value if value != bare and os.path.lexists(value) else bare


def place_below(path: str) -> PurePosixPath:
    """Return the path of an output below the folder of outputs: the listed path as it is written.

    Parts that lead out of the folder are dropped: a root, a drive, a protocol, "..". `rsync --files-from`
    does the same.
    """
    if is_url(path):
        # What separates folders on this system is a letter of a key.
        return place_of_key(without_credentials(path).split("://", 1)[-1])
    parts = os.path.normpath(os.path.splitdrive(path)[1]).split(os.sep)
    return PurePosixPath(*[part for part in parts if part not in ("", os.pardir)])
