"""README and docs: their commands are ones that the program takes, their scripts are there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from audiotool.cli.app import app

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "checkpoints").glob("*.md")])
BLOCK = re.compile(r"^```\s*(?:sh|console|bash|)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SCRIPT = re.compile(r"\bscripts/(\w+\.py)\b")


def commands() -> Iterator[tuple[str, str]]:
    """(page, command line) of every `audiotool` in a block of shell code."""
    for page in PAGES:
        for block in BLOCK.findall(page.read_text(encoding="utf-8")):
            for line in block.replace("\\\n", " ").splitlines():
                for part in line.split(" | "):
                    if part.strip().startswith(("audiotool ", "audiotool.")):
                        yield page.relative_to(ROOT).as_posix(), part.strip()


@pytest.mark.parametrize(("page", "line"), list(dict.fromkeys(commands())))
def test_the_command_takes_what_the_page_gives_it(page: str, line: str) -> None:
    words = [word for word in shlex.split(line, comments=True)[1:] if word != "..."]
    command = get_command(app)
    while isinstance(command, TyperGroup):
        if words == ["--version"]:
            return
        context = command.make_context("audiotool", [], resilient_parsing=True)
        name, words = words[0], words[1:]
        found = command.get_command(context, name)
        assert found is not None, f"{page}: there is no command {name}"
        command = found
    # Parsing checks names, types and ranges of options; nothing runs.
    command.make_context(line, words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_scripts_that_a_page_names_are_there(page: Path) -> None:
    for name in SCRIPT.findall(page.read_text(encoding="utf-8")):
        assert (ROOT / "scripts" / name).is_file(), name
