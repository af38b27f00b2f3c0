"""Extras on the pages and in scripts are those of pyproject.toml, and are installed from the checkout."""

from __future__ import annotations

import re

import pytest
from kit.docs import PAGES, ROOT

FOR_DEVELOPERS = {"dev", "docs", "peers"}


def extras() -> set[str]:
    """Return the names of all extras."""
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    table = project.partition("[project.optional-dependencies]\n")[2].partition("\n[")[0]
    return set(re.findall(r"^(\w+) = \[", table, re.MULTILINE))


TEXTS = [page for page in PAGES if page not in ("CHANGELOG.md", "SECURITY.md")]
SCRIPTS = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "scripts").glob("*.py"))]


@pytest.mark.parametrize("path", [*TEXTS, *SCRIPTS])
def test_extras_are_installed_from_the_checkout(path: str) -> None:
    text = (ROOT / path).read_text("utf-8")
    assert 'install "audiotool-speech[' not in text, "an index may have a stranger's package of that name"
    named = re.findall(r'"\.\[([\w,]+)\]"', text)
    assert {extra for names in named for extra in names.split(",")} <= extras()


def test_the_quick_start_says_what_each_extra_is_for() -> None:
    page = (ROOT / "docs" / "index.md").read_text("utf-8")
    section = page.partition("## Extras\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| \S.* \|$", section, re.MULTILINE)
    assert sorted(rows) == sorted(extras() - FOR_DEVELOPERS)
