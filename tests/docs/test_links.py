"""Relative links of the pages lead to files of the checkout, to headings in them, on the site to pages."""

from __future__ import annotations

import re
import runpy
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from kit.docs import PAGES, ROOT

LINK = re.compile(r"\]\(([^)\s]+)\)")


def links(page: str) -> Iterator[tuple[str, Path]]:
    """Yield each relative link of a page, outside of code, with the file that it leads to."""
    text = re.sub(
        r"^```.*?^```|`[^`\n]*`", "", (ROOT / page).read_text("utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    for link in LINK.findall(text):
        target = link.partition("#")[0]
        if not re.match(r"[a-z]+:", target):
            yield link, (ROOT / page).parent / target if target else ROOT / page


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_of_the_checkout(page: str) -> None:
    assert [link for link, file in links(page) if not file.exists()] == []


def headings(file: Path) -> set[str]:
    """Return the anchors of a page's headings."""
    slugify = pytest.importorskip("markdown.extensions.toc").slugify
    text = re.sub(r"^```.*?^```", "", file.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    return {slugify(heading, "-") for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_headings(page: str) -> None:
    anchored = [(link, file) for link, file in links(page) if "#" in link]
    assert [link for link, file in anchored if link.partition("#")[2] not in headings(file)] == []


def test_every_page_is_linked_from_another() -> None:
    linked = {file.resolve() for page in PAGES for _, file in links(page) if file.resolve() != ROOT / page}
    docs = [ROOT / page for page in PAGES if page.startswith("docs/")]
    assert [page for page in docs if page not in linked] == []


def test_links_out_of_the_docs_have_a_page_of_the_site() -> None:
    pytest.importorskip("mkdocs")
    generate = runpy.run_path(str(ROOT / "docs" / "generate.py"))
    docs = ROOT / "docs"
    pages = [page for page in PAGES if page.startswith("docs/")]
    outside = {f"({x})" for page in pages for x, file in links(page) if docs not in file.resolve().parents}
    assert outside == set(generate["IN_THE_CHECKOUT"])


def test_the_site_opens_as_files_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("material")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    ours = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
    plain = [plugin for plugin in ours["plugins"] if isinstance(plugin, str)]
    # Pages are in sections, as ours are.
    nav = [{"Start": ["index.md", "other.md"]}, {"Guides": ["guides/deep.md"]}]
    kept = {name: ours[name] for name in ("site_name", "theme", "extra") if name in ours}
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump({**kept, "plugins": plain, "nav": nav}))
    shutil.copytree(ROOT / "docs" / "assets", tmp_path / "docs" / "assets")
    (tmp_path / "docs" / "index.md").write_text("# One\n\n[other](other.md)\n")
    (tmp_path / "docs" / "other.md").write_text("# Other\n\na rare word\n")
    (tmp_path / "docs" / "guides").mkdir()
    (tmp_path / "docs" / "guides" / "deep.md").write_text("# Deep\n")
    build(load_config(str(tmp_path / "mkdocs.yml")))
    page = (tmp_path / "site" / "index.html").read_text("utf-8")
    assert 'href="other.html"' in page
    logo = r'href="([^"]*)" title="[^"]*" class="[^"]*\bmd-logo"'
    assert set(re.findall(logo, page)) == {"index.html"}
    deep = (tmp_path / "site" / "guides" / "deep.html").read_text("utf-8")
    assert set(re.findall(logo, deep)) == {"../index.html"}
    assert re.findall(r"<script[^>]* src=\"(?!assets/)", page) == []
    assert "a rare word" in (tmp_path / "site" / "search" / "search_index.js").read_text("utf-8")
