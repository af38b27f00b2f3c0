"""What an earlier report says of outputs that a resumed batch finds there already."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from audiotool.errors import InputError
from audiotool.metrics.rows import NOT_FETCHED, REFERENCE_RATE, Row
from audiotool.paths import Folders, is_url
from audiotool.report.json_document import read_json_report
from audiotool.text import encodable, without_credentials

SCORING_FACTS = ("reference", REFERENCE_RATE)
"""Names of the facts that belong to a row's scores."""

Places = tuple[str, ...]
"""The input of a row, and its outputs."""


def check_former(path: Path) -> None:
    """Check that a resumed batch can take over the rows of an earlier JSON report, before any work is done.

    Raises:
        InputError: the file holds something else, or is damaged.
    """
    if path.suffix.lower() != ".json":
        return
    try:
        if path.stat().st_size:
            read_json_report(path)
    except FileNotFoundError:
        return
    except InputError as error:
        raise InputError(f"{error}; it would be replaced: move it, or give another --report") from error


class FormerReport:
    """The rows of an earlier report, by their inputs and outputs, however these are spelled.

    An output that is newer than the report is another one than the report describes, and has no row; nor has
    an input that failed. The time of an input that is ahead of the clock is that of its outputs, too. Outputs
    in a store count as those that the report describes.

    Args:
        path: of a JSON report; there are no rows if there is none.
    """

    def __init__(self, path: Path) -> None:
        self._written = 0
        self._rows: dict[Places, Row] = {}
        self._folders = Folders()
        try:
            self._written = path.stat().st_mtime_ns
            rows = read_json_report(path).rows
        except (OSError, InputError):
            return
        self._rows = {self._real(_places(row)): row for row in rows if row.status != "failed"}

    def complete(self, rows: Iterable[Row]) -> None:
        """Give skipped rows what this report has of the same inputs and outputs: facts and notes.

        Scores come from the present scoring, and so do its facts and notes. Those of outputs in a store,
        which are not fetched to be scored, come from this report if it compared them with the same reference.
        """
        for row in rows:
            found = self._row(_places(row)) if row.status == "skipped" else None
            if found is None:
                continue
            if self._has_reference(row, found):
                _take_scores(row, found)
            kept = {name: fact for name, fact in found.facts.items() if name not in SCORING_FACTS}
            row.facts = {**kept, **row.facts}
            of_output = [note for note in found.notes if note not in found.run_notes]
            row.notes = list(dict.fromkeys([*row.notes, *of_output]))

    def rows_of(self, source: str, outputs: Sequence[str]) -> list[Row]:
        """Return the rows of one input as skipped ones: one of all its outputs, or one of each."""
        places = dict.fromkeys([(source, *outputs), *((source, output) for output in outputs)])
        found = [row for row in map(self._row, places) if row is not None]
        for row in found:
            row.facts["status"] = "skipped"
        return found

    def _has_reference(self, row: Row, found: Row) -> bool:
        """Return whether a row has the reference of this report's row, which is no newer than the report."""
        place, former = row.facts.get("reference"), found.facts.get("reference")
        if place is None or former is None or self._real([place]) != self._real([str(former)]):
            return False
        changed = _time_of(place)
        return changed is not None and changed <= self._written

    def _row(self, places: Places) -> Row | None:
        """Return the row of an input and outputs; None without one, or if an output is newer or elsewhere."""
        found = self._rows.get(self._real(places))
        if found is None:
            return None
        try:
            changed = [os.stat(place).st_mtime_ns for place in places[1:] if not is_url(place)]
        except (OSError, ValueError):
            return None
        is_described = all(time <= self._written or time == _time_of(places[0]) for time in changed)
        return found if is_described else None

    def _real(self, places: Sequence[str]) -> Places:
        """Return resolved places as reports have them: without credentials, and with bytes escaped that are
        not UTF-8."""
        found = []
        for place in map(without_credentials, places):
            try:
                found.append(encodable(self._folders.real(place)))
            except ValueError:  # a report from outside may have what is no name
                found.append(place)
        return tuple(found)


def _take_scores(row: Row, found: Row) -> None:
    """Give a row the scores of an earlier one that were not attempted, and what their scoring said."""
    missing = [name for name, score in row.values.items() if score.reason == NOT_FETCHED]
    for scores, former in ((row.values, found.values), (row.baseline, found.baseline)):
        scores |= {name: former[name] for name in missing if name in former}
    if missing:
        row.facts = {name: found.facts[name] for name in SCORING_FACTS if name in found.facts} | row.facts
        row.run_notes = found.run_notes
        row.notes += found.run_notes


def _time_of(source: str) -> int | None:
    """Return the time of a file in ns; None of a pipe, and of one that is not there any more."""
    try:
        return os.stat(source).st_mtime_ns
    except (OSError, ValueError):
        return None


def _places(row: Row) -> Places:
    outputs = row.facts.get("output")
    places = (row.facts.get("input"), *(outputs if isinstance(outputs, list) else [outputs]))
    return tuple(map(str, places))
