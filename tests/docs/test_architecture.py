"""ARCHITECTURE: its drawing of imports is the linter's contract; its table has every package and module."""

from __future__ import annotations

import re

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
    assert [line.split() for line in drawing[1].replace("\n    ", " ").splitlines()] == expected
    names = [name for line in expected for name in line]
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert sorted(names) == sorted(modules | packages)


def test_the_table_has_every_package_and_module() -> None:
    cells = [line.split("|")[1] for line in TEXT.splitlines() if line.startswith("| `")]
    named = {name for cell in cells for name in re.findall(r"`([\w/.]+)`", cell)}
    packages = {f"{path.parent.name}/" for path in PACKAGE.glob("*/__init__.py")}
    assert packages <= named
    assert {path.name for path in PACKAGE.glob("*.py")} - NOT_IN_TABLE <= named


def test_each_package_has_its_folder_of_tests() -> None:
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    assert folders - WITHOUT_ROOM == packages
