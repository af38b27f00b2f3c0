"""docs/models.md agrees with the registry."""

from __future__ import annotations

import inspect
import pkgutil
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import write_model_table

from audiotool import models
from audiotool.engines.cost import count_macs
from audiotool.importers.base import IMPORTERS
from audiotool.model_facts import SHARED, Facts, published
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
        assert row[8] == ("none" if importer is None else importer.origin), "run scripts/write_model_table.py"
        assert float(row[4]) > 0


NOT_COMPARED = {"wavenet"}
"""Importers without stored outputs of the official program, as the page says."""


@pytest.mark.parametrize("name", sorted(IMPORTERS.builtin().keys() - NOT_COMPARED))
def test_importers_are_compared_with_official_outputs(name: str) -> None:
    """What the page says of the tests' names; `periodwave-turbo` is in the module of `periodwave`."""
    module = inspect.getmodule(MODELS.get(name))
    assert module is not None
    stem = module.__name__.rpartition(".")[2]
    places = [f"tests/models/test_{stem}.py", f"tests/importers/test_{stem}_importer.py"]
    texts = [(ROOT / place).read_text(encoding="utf-8") for place in places if (ROOT / place).is_file()]
    assert any(re.search(r"^def test_\w*(official|parity)", text, re.MULTILINE) for text in texts), (
        f"write a test with `official` or `parity` in its name into {' or '.join(places)}, which compares an"
        " imported checkpoint with stored outputs of the official program (docs/extend/add.md)"
    )


def test_rows_of_the_table_are_short() -> None:
    """A cell of many words makes a row of the site as high as a page."""
    lines = (ROOT / "docs" / "models.md").read_text(encoding="utf-8").splitlines()
    assert max(len(line) for line in lines if line.startswith("| `")) < 200


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


CHEAP = {row["model"]: row["macs_per_second"] for row in published() if row["macs_per_second"] < 1e9}


@pytest.mark.parametrize("name", CHEAP)
def test_multiply_adds_are_those_that_are_counted(name: str) -> None:
    counted = count_macs(MODELS.get(name).from_config().eval())
    assert CHEAP[name] == pytest.approx(counted), "run scripts/write_model_table.py"


def test_write_model_table(run: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_model_table, "PUBLISHED", tmp_path / "published.json")
    monkeypatch.setattr(MODELS, "builtin", lambda: {"gtcrn": MODELS.get("gtcrn")})
    out = run("write_model_table", "--output", tmp_path / "models.md")
    assert "| `gtcrn` |" in out
    assert "| `gtcrn` |" in (tmp_path / "models.md").read_text()
    first = (tmp_path / "published.json").read_text()
    assert '"model": "gtcrn"' in first
    assert run("write_model_table", "--output", tmp_path / "models.md", "--missing") == ""
    assert (tmp_path / "published.json").read_text() == first
    stale = first.replace('"parameters": 23669', '"parameters": 23668').replace("26519472.0", "1.0")
    (tmp_path / "published.json").write_text(stale)
    assert "| `gtcrn` |" in run("write_model_table", "--output", tmp_path / "models.md", "--missing")
    assert (tmp_path / "published.json").read_text() == first
