"""Options of official configurations: the table in docs/models.md, and those that are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from audiotool.errors import CheckpointError
from audiotool.importers.base import IMPORTERS, Options

TABLE = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
NETWORK = Options(
    "network", taken=("width",), fixed={"kind": ("a", None)}, unused=("batch_size",), closed=True
)


def test_the_table_names_every_option() -> None:
    for name, importer in IMPORTERS.all().items():
        for section in importer.options:
            rows = [line for line in TABLE.splitlines() if line.startswith(f"| {name} | {section.section} |")]
            for key in (*section.taken, *section.fixed, *section.unused):
                assert any(f"`{key}`" in row for row in rows), f"{name}: run scripts/write_model_table.py"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "b"}, r"file: the official option kind='b' is not supported, only 'a' or None"),
        ({"widht": 3}, r"file: unknown official options: widht; did you mean 'width'\?"),
        ([1], r"file: network are names with values, not \[1\]"),
    ],
)
def test_options_that_would_be_ignored_are_refused(values: object, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        NETWORK.check(values, "file")


def test_known_options_pass() -> None:
    NETWORK.check({"kind": None, "width": 3, "batch_size": 4}, "file")
    Options("all", taken=(), closed=False).check({"anything": 1}, "file")
