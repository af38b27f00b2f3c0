"""README and docs: their commands are ones that the program takes, their scripts are there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import pytest
from kit.docs import PAGES, ROOT, shell_lines
from typer.core import TyperGroup
from typer.main import get_command

from audiotool.cli.app import EXIT_CODES, app

SCRIPT = re.compile(r"(?:\baudiotool/[\w/]*)?\b(?:scripts|examples)/\w+\.(?:py|mjs)\b")


def commands() -> Iterator[tuple[str, str]]:
    """(page, command line) of every `audiotool` in a block of shell code."""
    for page in PAGES:
        for line in shell_lines(page):
            for part in line.split(" | "):
                if part.strip().startswith(("audiotool ", "audiotool.")):
                    yield page, part.strip()


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


def test_the_help_has_the_exit_codes_of_the_guide() -> None:
    guide = (ROOT / "docs" / "guides" / "batches.md").read_text("utf-8").partition("| exit code |")[2]
    codes = re.findall(r"^\| (\d+) \|", guide, re.MULTILINE)
    assert (
        sorted(codes) == sorted(re.findall(r"\d+", EXIT_CODES)) == ["0", "1", "129", "130", "143", "149", "2"]
    )


@pytest.mark.parametrize("page", PAGES)
def test_scripts_that_a_page_names_are_there(page: str) -> None:
    for name in SCRIPT.findall((ROOT / page).read_text(encoding="utf-8")):
        assert (ROOT / name).is_file(), name
