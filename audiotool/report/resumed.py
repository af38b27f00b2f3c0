"""What an earlier report says of outputs that a resumed batch finds there already."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from audiotool.errors import InputError
from audiotool.metrics.rows import Row
from audiotool.paths import without_credentials
from audiotool.report.json_document import read_json_report


def keep_former(rows: Sequence[Row], path: Path) -> None:
    """Give skipped rows the facts and notes that an earlier report has of the same inputs and outputs.

    An output that is newer than the report is another one than the report describes, and gets none.

    Args:
        path: of a JSON report; nothing happens if there is none.
    """
    try:
        written = path.stat().st_mtime_ns
        former = {_places(row): row for row in read_json_report(path).rows if row.status != "failed"}
    except (OSError, InputError):
        return
    for row in rows:
        found = former.get(_places(row))
        if row.status == "skipped" and found is not None and _is_of(row, written):
            row.facts = {**found.facts, **row.facts}
            row.notes = list(dict.fromkeys([*found.notes, *row.notes]))


def _places(row: Row) -> tuple[str, ...]:
    """Return the input and the outputs of a row, which early reports have with their credentials."""
    outputs = row.facts.get("output")
    places = (row.facts.get("input"), *(outputs if isinstance(outputs, list) else [outputs]))
    return tuple(without_credentials(str(place)) for place in places)


def _is_of(row: Row, written: int) -> bool:
    """Whether no output is newer than a report of this time in ns; False if one is not on this machine."""
    try:
        return all(os.stat(place).st_mtime_ns <= written for place in _places(row)[1:])
    except (OSError, ValueError):
        return False
