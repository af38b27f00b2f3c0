"""The glossary: every word once, in order; what the words of before have become is used everywhere."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
FORMER = re.compile(r"rehears|\bstepwise\b|sample_by_sample|\bsteady (step|stream|noise)", re.IGNORECASE)
EXCEPT = {
    "audiotool/engines/card.py",
    "audiotool/recipe/former_keys.py",
    "audiotool/report/json_document.py",
    "audiotool/tasks/load.py",
    "audiotool/tasks/options.py",
    "docs/experiments.md",
    "docs/glossary.md",
}
"""Files that read the earlier names, and the log of experiments."""


def test_every_word_is_there_once_and_in_order() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    sections = re.split(r"^## ", text.partition("## Former names")[0], flags=re.MULTILINE)[1:]
    found = []
    for section in sections:
        rows = [line.split("|")[1:-1] for line in section.splitlines() if line.startswith("| ")][2:]
        assert all(len(row) == 3 and row[1].strip() for row in rows)
        words = [row[0].strip() for row in rows]
        assert words == sorted(words, key=str.lower)
        found += words
    assert len(found) == len(set(found)) > 50


def test_the_words_of_the_architecture_are_those_of_the_glossary() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").partition("\n## Words\n")[2]
    rows = [
        line.split("|")[1:-1] for line in text.partition("\n## ")[0].splitlines() if line.startswith("| ")
    ][2:]
    words = [word.strip() for word, _ in rows]
    assert words == sorted(words, key=str.lower)
    assert len(words) == 30
    glossary = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    assert not [word for word, meaning in rows if f"|{word}|{meaning}|" not in glossary]


def test_former_words_are_nowhere_else() -> None:
    files = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "recipes").rglob("*.yaml")]
    files += (ROOT / "audiotool").rglob("*.py")
    names = {path.relative_to(ROOT).as_posix() for path in files if FORMER.search(path.read_text("utf-8"))}
    # The changelog lists renamed options.
    assert names - {"CHANGELOG.md"} <= EXCEPT
