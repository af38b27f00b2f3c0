"""Read CSV from outside, as spreadsheets write it: UTF-16 with a byte order mark, other separators than the
comma; and write CSV that all of them read."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Collection, Iterable
from typing import Any

SEPARATORS = ",;\t"
"""What may separate columns: spreadsheets write semicolons where the comma is the decimal sign."""

BOTH = "\r\n"
"""The characters that end lines."""


def decoded(data: bytes) -> str:
    """Return the text of a file in UTF-8, of which other bytes are kept, or in UTF-16 with a byte order mark.

    Raises:
        ValueError: it begins as UTF-16 and is none.
    """
    if not data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode(errors="surrogateescape").removeprefix("\ufeff")
    try:
        return data.decode("utf-16")
    except UnicodeDecodeError as error:
        raise ValueError(f"it begins as UTF-16 and is none: {error.reason}") from error


def separator_of(header: str, columns: Collection[str]) -> str | None:
    """Return what separates the columns that a line names; None if it names none of `columns`."""
    for separator in SEPARATORS:
        names = (name.strip().strip('"').lower() for name in header.split(separator))
        if not set(names).isdisjoint(columns):
            return separator
    return None


def csv_text(lines: Iterable[Iterable[Any]]) -> str:
    """Return lines of cells as CSV, in which a cell with a line break of any kind is quoted.

    Python before 3.13 quotes only the characters that end its own lines: these are both.
    """
    stream = _Lines()
    csv.writer(stream, lineterminator=BOTH).writerows(lines)
    return "".join(line.removesuffix(BOTH) + "\n" for line in stream.found)


class _Lines:
    """A stream that keeps what is written as a list, one item a line."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def write(self, line: str) -> None:
        self.found.append(line)
