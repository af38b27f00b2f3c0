"""Extras on the pages are those of pyproject.toml, and are added by the name of the distribution."""

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


@pytest.mark.parametrize("page", [page for page in PAGES if page not in ("CHANGELOG.md", "CONTRIBUTING.md")])
def test_extras_are_added_by_name(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    assert '".[' not in text, "that builds audiotool anew, and works in the checkout alone"
    named = re.findall(r"audiotool-speech\[([\w,]+)\]", text)
    assert {extra for names in named for extra in names.split(",")} <= extras()


def test_the_quick_start_says_what_each_extra_is_for() -> None:
    page = (ROOT / "docs" / "index.md").read_text("utf-8")
    section = page.partition("## Extras\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| \S.* \|$", section, re.MULTILINE)
    assert sorted(rows) == sorted(extras() - FOR_DEVELOPERS)
