"""Read what a run wrote down."""

from __future__ import annotations

import csv
from pathlib import Path

SPEED = ("examples_per_second", "audio_seconds_per_second")


def curve(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file, without what depends on the clock."""
    with path.open() as file:
        return [{k: v for k, v in row.items() if k not in SPEED} for row in csv.DictReader(file)]
