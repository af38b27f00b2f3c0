"""docs/models.md agrees with the registry."""

from __future__ import annotations

import pkgutil
from pathlib import Path

from audiotool import models
from audiotool.importers.base import IMPORTERS
from audiotool.modelcard import SHARED, Facts, published
from audiotool.models.registry import MODELS

ROOT = Path(__file__).parents[2]


def test_the_table_has_every_model_and_its_importer() -> None:
    lines = (ROOT / "docs" / "models.md").read_text(encoding="utf-8").splitlines()
    rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| `")
    ]
    assert [row[0].strip("`") for row in rows] == list(MODELS.builtin()), "run scripts/write_model_table.py"
    for row in rows:
        importer = IMPORTERS.builtin().get(row[0].strip("`"))
        assert row[9] == ("none" if importer is None else importer.origin), "run scripts/write_model_table.py"
        assert float(row[4]) > 0
        for proof in row[10].split(", ") if row[10] != "none" else []:
            file, _, test = proof.strip("`").partition("::")
            assert f"def {test}(" in (ROOT / "tests" / "models" / file).read_text(encoding="utf-8")


def test_the_list_needs_no_network() -> None:
    """A module of `audiotool.models` neither counted nor shared would be imported, and PyTorch with it."""
    files = {found.name for found in pkgutil.iter_modules(models.__path__)}
    assert files - SHARED == {row["model"].replace("-", "_") for row in published()} & files


def test_the_list_says_what_the_models_declare() -> None:
    rows = published()
    assert [row["model"] for row in rows] == list(MODELS.builtin()), "run scripts/write_model_table.py"
    for row in rows:
        assert row.pop("macs_per_second") > 0
        assert row == Facts.of(MODELS.get(row["model"]).outline({})).row()
