"""README's sentences are short; lines of prose on every page are at most 120 characters."""

from __future__ import annotations

import re

import pytest
from kit.docs import PAGES, ROOT

LONGEST_SENTENCE = 30
"""Words."""

WIDEST = 120
"""Characters of a line. Tables and code may be wider."""


def prose(page: str) -> str:
    """Return the text of a page without code blocks, tables and headings."""
    text = re.sub(
        r"^```.*?^```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    return "\n".join(line for line in text.splitlines() if not line.startswith(("|", "#")))


def sentences(text: str) -> list[str]:
    """Return the sentences of a text; a paragraph or an item of a list ends one, too."""
    parts = re.split(r"\n\s*\n|^\s*- ", text, flags=re.MULTILINE)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", " ".join(part.split())) for part in parts]
    return [sentence for part in plain for sentence in re.split(r"(?<=[.!?])(?:\*\*)?\s+", part)]


def test_sentences_of_the_readme_are_short() -> None:
    found = sentences(prose("README.md"))
    assert len(found) > 30
    assert not [sentence for sentence in found if len(sentence.split()) > LONGEST_SENTENCE]


# Cards are written by a command, from the metadata of checkpoints.
@pytest.mark.parametrize("page", [page for page in PAGES if not page.startswith("checkpoints/")])
def test_lines_of_prose_are_short(page: str) -> None:
    assert not [line for line in prose(page).splitlines() if len(line) > WIDEST]


def faults_of_tables(text: str) -> list[str]:
    """Return the first line of each block with rows that do not begin with a heading and a delimiter row, and
    lines behind a table's last row.

    A blank line ends a table: rows behind it are shown as text, and text that has none before it as a row.
    """
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    blocks = [block.splitlines() for block in re.split(r"\n\s*\n", text.strip("\n"))]
    tables = [block for block in blocks if any(line.lstrip().startswith("| ") for line in block)]
    headless = [
        block[0] for block in tables if not re.fullmatch(r"\s*\|( ?:?-+:? ?\|)+", "".join(block[1:2]))
    ]
    behind = [line for block in tables for line in block[2:] if not line.lstrip().startswith("|")]
    return headless + behind


@pytest.mark.parametrize("page", PAGES)
def test_rows_and_text_do_not_touch(page: str) -> None:
    assert faults_of_tables((ROOT / page).read_text(encoding="utf-8")) == []


def test_rows_and_text_that_touch_are_found() -> None:
    table = "| a | b |\n| --- | ---: |\n| 1 | 2 |"
    assert faults_of_tables(table) == []
    assert faults_of_tables(f"{table}\n\n| 3 | 4 |\n| 5 | 6 |\n\ntext") == ["| 3 | 4 |"]
    assert faults_of_tables(f"text\n{table}") == ["text"]
    assert faults_of_tables(f"{table}\ntext") == ["text"]
