"""ARCHITECTURE: its drawing of imports is the linter's contract; its table has every package and module."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from kit.docs import ROOT

TEXT = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
PACKAGE = ROOT / "audiotool"
NOT_IN_TABLE = {"__init__.py", "__main__.py", "version.py"}
WITHOUT_ROOM = {"docs", "kit", "scripts"}
"""Folders of tests that are not those of a package."""


def test_the_drawing_of_imports_is_the_contract() -> None:
    # Without tomllib, which Python 3.10 has not.
    contract = re.search(r"^layers = \[\n(.*?)^\]", (ROOT / "pyproject.toml").read_text("utf-8"), re.M | re.S)
    drawing = re.search(r"Imports point one way.*?```\n(.*?)```", TEXT, re.DOTALL)
    assert contract is not None
    assert drawing is not None
    expected = [re.findall(r"audiotool\.(\w+)", line) for line in contract[1].splitlines()]
    # An indented line goes on with the one above.
    assert [line.split() for line in drawing[1].replace("\n    ", " ").splitlines()] == expected, (
        "the drawing of imports in ARCHITECTURE.md and `layers` in pyproject.toml differ: make them the same"
    )
    names = [name for line in expected for name in line]
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert sorted(names) == sorted(modules | packages), (
        "give each package and module of audiotool its place in `layers` in pyproject.toml and in"
        " ARCHITECTURE.md's drawing of imports (CONTRIBUTING.md)"
    )


def test_the_table_has_every_package_and_module() -> None:
    cells = [line.split("|")[1] for line in TEXT.splitlines() if line.startswith("| `")]
    named = {name for cell in cells for name in re.findall(r"`([\w/.]+)`", cell)}
    packages = {f"{path.parent.name}/" for path in PACKAGE.glob("*/__init__.py")}
    modules = {path.name for path in PACKAGE.glob("*.py")} - NOT_IN_TABLE
    assert packages | modules <= named, (
        f"give each a row in the table of ARCHITECTURE.md: {sorted((packages | modules) - named)}"
    )


@pytest.mark.parametrize("package", sorted(PACKAGE.rglob("__init__.py")), ids=lambda path: path.parent.name)
def test_each_package_says_its_job(package: Path) -> None:
    assert ast.get_docstring(ast.parse(package.read_text(encoding="utf-8"))), f"{package} has no docstring"


def test_the_table_names_modules_that_are_there() -> None:
    rows = [line.split("|")[1:] for line in TEXT.splitlines() if re.match(r"\| `[\w/]+/`", line)]
    assert rows
    for room, *cells in rows:
        folders = [PACKAGE / name for name in re.findall(r"`([\w/]+/)`", room)]
        named = re.findall(r"`([\w/]+\.py)`", "".join(cells))
        lacking = [name for name in named if not any(list(folder.rglob(name)) for folder in folders)]
        assert not lacking, f"ARCHITECTURE.md's row of{room}names modules that are not there: {lacking}"


def test_the_rows_of_audio_name_each_module_once() -> None:
    rows = [line for line in TEXT.splitlines() if line.startswith("| `audio/`")]
    named = re.findall(r"`(\w+\.py)`", "".join(rows))
    assert sorted(named) == sorted(
        path.name for path in PACKAGE.glob("audio/*.py") if path.stem != "__init__"
    )


def test_each_package_has_its_folder_of_tests() -> None:
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    assert folders - WITHOUT_ROOM == packages, "each package NAME has its tests in tests/NAME, and no other"
