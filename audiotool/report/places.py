"""The recordings that the rows of a report name, as paths from the current folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from audiotool.audio import PIPE
from audiotool.audio.formats import is_readable_name
from audiotool.metrics.rows import Row
from audiotool.paths import is_url

FACTS = ("input", "noisy", "output", "estimate", "residual", "reference")
"""Facts of a row that are recordings; several outputs are a list."""


def locate(rows: Sequence[Row], folder: Path) -> None:
    """Let the relative paths of a report that was read lead from the current folder to its recordings.

    They start in the folder in which the report's command ran. That is the report's folder where any of the
    recordings is there, else the current one.

    Args:
        folder: folder of the report.
    """

    def below(place: str) -> str:
        return os.path.join(folder, place) if _is_relative(place) else place

    paths = (place for row in rows for place in _places(row) if _is_relative(place))
    if folder == Path() or not any(os.path.exists(below(place)) for place in paths):
        return
    for row in rows:
        row.facts.update({name: _each(row.facts[name], below) for name in FACTS if name in row.facts})


def missing(rows: Sequence[Row]) -> list[str]:
    """Return the recordings of rows that a page cannot show, because nothing is at their paths."""
    places = dict.fromkeys(place for row in rows if not row.failed for place in _places(row))
    recordings = (place for place in places if is_readable_name(Path(place)) and not is_url(place))
    return [place for place in recordings if not os.path.exists(place)]


def _places(row: Row) -> Iterator[str]:
    for name in FACTS:
        yield from recordings(row, name)


def recordings(row: Row, name: str) -> Iterator[str]:
    """Yield the recordings of a fact of `FACTS`; a report from outside may have anything there."""
    fact = row.facts.get(name)
    yield from (place for place in (fact if isinstance(fact, list) else [fact]) if isinstance(place, str))


def _each(fact: Any, change: Callable[[str], str]) -> Any:
    if isinstance(fact, list):
        return [_each(place, change) for place in fact]
    return change(fact) if isinstance(fact, str) else fact


def _is_relative(place: str) -> bool:
    return place not in ("", PIPE) and not is_url(place) and not os.path.isabs(place)
