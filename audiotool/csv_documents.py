"""Read CSV from outside, as spreadsheets write it: UTF-16 with a byte order mark, other separators than the
comma."""

from __future__ import annotations

import codecs
from collections.abc import Collection

SEPARATORS = ",;\t"
"""What may separate columns: spreadsheets write semicolons where the comma is the decimal sign."""


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
