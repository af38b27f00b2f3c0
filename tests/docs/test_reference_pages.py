"""The pages made from the code: every option says what it takes, every recipe key has a section."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable

import pytest
from kit.docs import ROOT

pytest.importorskip("mkdocs")


@pytest.fixture(scope="module")
def page() -> Callable[[str], str]:
    generate = runpy.run_path(str(ROOT / "docs" / "generate.py"))
    return lambda name: str(generate[f"{name}_page"]())


@pytest.mark.parametrize(
    ("command", "row"),
    [
        ("bench", "| `--model` | TEXT | A bundled checkpoint"),
        ("bench", "| `--seconds` | FLOAT, at least 1 | Audio processed, in seconds. Default: `30.0`. |"),
        ("bench", "| `--json` |  | Print"),
        ("denoise", "| `--model` | NAME | A checkpoint's name, or its file"),
        ("denoise", "| `--output`, `-o` | PATH | A file for one input, a folder for several, '-' for WAV on"),
        ("separate", "| `--output`, `-o` | PATH | A folder, or for one input a file, whose name gets those"),
        (
            "vocode",
            "| `--output`, `-o` | PATH | A file for one input, a folder for several, '-' for WAV, and",
        ),
        ("denoise", "| `--engine` | ENGINE: `auto`, `onnx`, `torch` | "),
        ("denoise", "| `--progress` | `auto`, `json` | "),
        ("denoise", "| `--mix` | SHARE, 0 to 1 | "),
        ("data mix", "| `--split` | train\\|valid\\|test | "),
    ],
)
def test_an_option_says_what_it_takes(page: Callable[[str], str], command: str, row: str) -> None:
    section = page("commands").split(f"## audiotool {command}\n")[1].split("\n## ")[0]
    assert f"\n{row}" in section


def test_the_options_of_the_program_itself_come_first(page: Callable[[str], str]) -> None:
    section = page("commands").split("\n## ")[1]
    options = re.findall(r"^\| `(.*?)` \|  \| \S", section, re.MULTILINE)
    assert section.startswith("audiotool\n")
    assert options == ["--version", "--debug", "--install-completion", "--show-completion"]


def test_options_say_what_else_is_to_be_known(page: Callable[[str], str]) -> None:
    commands = page("commands")
    assert re.search(r"`--output`, `-o` \| PATH \| The manifest to write \(\.csv\)\. Required\. \|", commands)
    assert "Environment variable: `AUDIOTOOL_TOKEN`. |" in commands
    assert re.search(r"`--warm-up`, `--no-warm-up` .* Default: `--warm-up`\. \|", commands)
    assert "Default: `True`" not in commands


def test_sections_stand_under_the_key_that_is_nearest_to_the_top(page: Callable[[str], str]) -> None:
    recipes = page("recipes")
    titles = re.findall("^## `(.*)`", recipes, flags=re.MULTILINE)
    assert {"optimiser (adamw)", "schedule (constant)", "adversarial"} <= set(titles)
    assert not [title for title in titles if title.startswith("adversarial.optimiser")]
    assert "| `optimiser` | section, as `optimiser` | " in recipes.split("## `adversarial`")[1]
    assert "| `optimiser` | section | " in recipes.split("## `model`")[0]
