"""Errors of the command line: one line each, with the nearest name or the number that is meant."""

from __future__ import annotations

from pathlib import Path

import pytest
from kit.command import one_line, run_command

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            "denoise a.wav --modell x",
            "there is no option '--modell'; did you mean '--model'? (see audiotool denoise --help)",
        ),
        ("denoise a.wav -z", "there is no option '-z' (see audiotool denoise --help)"),
        (
            "models show x --ful",
            "there is no option '--ful'; did you mean '--full'? (see audiotool models show --help)",
        ),
        (
            "denoise a.wav --chunk 10s",
            "invalid value for '--chunk': '10s' is not a number: write 10 (see audiotool denoise --help)",
        ),
        (
            "denoise a.wav --chunk 10kHz",
            "invalid value for '--chunk': '10kHz' is not a number (see audiotool denoise --help)",
        ),
        (
            "serve --port 80.5s",
            "invalid value for '--port': '80.5s' is not a whole number (see audiotool serve --help)",
        ),
        (
            "denoise -j many",
            "invalid value for '--jobs' / '-j': 'many' is not a whole number (see audiotool denoise --help)",
        ),
        ("models show", "missing argument 'NAME' (see audiotool models show --help)"),
        ("models frob", "there is no command 'frob' (see audiotool models --help)"),
        ("data scn", "there is no command 'scn'; did you mean 'scan'? (see audiotool data --help)"),
        ("frob", "there is no command 'frob' (see audiotool --help)"),
        ("export", "there is no command 'export'; did you mean 'models export'? (see audiotool --help)"),
        (
            "list",
            "there is no command 'list'; did you mean 'models list' or 'recipes list'?"
            " (see audiotool --help)",
        ),
        ("denoise --device", "option '--device' requires an argument (see audiotool denoise --help)"),
        (
            "models list --json=yes",
            "option '--json' does not take a value (see audiotool models list --help)",
        ),
        ("--debug=1 doctor", "option '--debug' does not take a value (see audiotool --help)"),
    ],
)
def test_usage_errors_are_one_line(words: str, line: str) -> None:
    result = run_command(*words.split(), env={"COLUMNS": "40"})
    assert result.exit_code == 2
    assert one_line(result) == f"audiotool: error: {line}\n"


def test_a_name_that_was_taken_for_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("-take 1.wav").touch()
    assert "; the file is given as './-take 1.wav' (see" in one_line(run_command("denoise", "-take 1.wav"))


def test_a_group_without_a_command_prints_its_help_alone() -> None:
    result = run_command("models")
    assert (result.exit_code, "Usage: audiotool models" in result.output) == (2, True)
    assert "error" not in result.stderr
