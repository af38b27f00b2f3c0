"""The command itself: help without heavy imports, errors as one line, exit codes, tracebacks on request."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from kit.audio import write_speech
from kit.command import imported_by
from typer.testing import CliRunner

from audiotool.cli import app as app_module
from audiotool.errors import AudiotoolError, RecipeError
from audiotool.version import __version__

runner = CliRunner()

RAISED = {
    "failed": AudiotoolError("it\nfailed"),
    "recipe": RecipeError("key 'x'"),
    "interrupted": KeyboardInterrupt(),
    "bug": ZeroDivisionError("oops"),
}


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A subcommand that raises what it is told to."""
    faulty = typer.Typer(add_completion=False)

    @faulty.command()
    def raises(kind: str) -> None:
        raise RAISED[kind]

    found = app_module.Subcommands._typer
    monkeypatch.setattr(
        app_module.Subcommands, "_typer", staticmethod(lambda m: faulty if m == "faulty" else found(m))
    )


def run_program(program: str, *words: str) -> None:
    """Run a program, which succeeds, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_command_has_help_without_torch() -> None:
    program = (
        "import sys; from typer.testing import CliRunner; from audiotool.cli.app import app\n"
        "run = lambda *a: CliRunner().invoke(app, a)\n"
        "assert 'denoise' in run('--help').output\n"
        "import typer; group = typer.main.get_command(app)\n"
        "for name in group.list_commands(None):\n"
        "    result = run(name, '--help'); assert result.exit_code == 0, (name, result.output)\n"
        "    assert 'install-completion' not in result.output, name\n"
        "heavy = {'torch', 'torchaudio', 'soundfile', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    run_program(program)


@pytest.mark.parametrize("words", ["list", "show denoise", "show denoise-48k --full", "verify"])
def test_bundled_models_are_shown_without_torch(words: str) -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from typer.testing import CliRunner; from audiotool.cli.app import app\n"
        "result = CliRunner().invoke(app, ['models', *sys.argv[1:]])\n"
        "assert result.exit_code == 0, result.output\n"
        "assert 'denoise' in result.output"
    )
    run_program(program, *words.split())


def test_a_plain_run_imports_only_what_it_uses(tmp_path: Path) -> None:
    """Each module costs a start of the command; these belong to other options, commands and classes."""
    source = write_speech(tmp_path / "in.wav", 0.2)
    loaded = imported_by("denoise", source, "-o", tmp_path / "out.wav")
    assert "audiotool.pipeline" in loaded, "the list is of the whole run"
    idle = {"audiotool.batch.listing", "audiotool.batch.pool", "audiotool.batch.shards"}
    idle |= {"audiotool.cli.metric_options", "audiotool.cli.report", "audiotool.metrics.base"}
    idle |= {"audiotool.streaming.state", "audiotool.streaming.streams"}
    idle |= {"asyncio", "concurrent.futures", "email", "importlib.metadata", "multiprocessing"}
    idle |= {"pydantic", "rich", "scipy", "torch"}
    assert not idle & loaded


def test_help_calls_values_by_words_in_capitals() -> None:
    program = (
        "from typer.testing import CliRunner; from audiotool.cli.app import app\n"
        "import re, typer\n"
        "def walk(command, words):\n"
        "    below = command.list_commands(None) if hasattr(command, 'list_commands') else []\n"
        "    for name in below: walk(command.get_command(None, name), [*words, name])\n"
        "    text = CliRunner().invoke(app, [*words, '--help'], env={'COLUMNS': '200'}).output\n"
        "    assert not re.findall('<[a-z].*?>', text), text\n"
        "walk(typer.main.get_command(app), [])\n"
    )
    run_program(program)


def commands_below(command: Any, words: list[str]) -> Iterator[tuple[Any, list[str]]]:
    """Yield a command and all below it, with their words."""
    yield command, words
    for name in getattr(command, "list_commands", lambda _: [])(None):
        yield from commands_below(command.get_command(None, name), [*words, name])


@pytest.mark.parametrize("columns", [60, 80])
def test_help_cuts_neither_names_nor_text(columns: int) -> None:
    for command, words in commands_below(typer.main.get_command(app_module.app), []):
        shown = runner.invoke(app_module.app, [*words, "--help"], env={"COLUMNS": str(columns)}).output
        options = [p for p in command.get_params(typer.Context(command)) if not p.hidden]
        own = [command.help, command.epilog, *(getattr(p, "help", None) for p in options)]
        assert shown.count("…") == sum((text or "").count("…") for text in own), words
        names = {name for p in options for name in (*p.opts, *p.secondary_opts) if name.startswith("-")}
        assert names <= set(re.split(r"[\s,|│/]+", shown)), words


def test_help_in_a_narrow_terminal_keeps_lines_and_sentences_whole() -> None:
    narrow = runner.invoke(app_module.app, ["denoise", "--help"], env={"COLUMNS": "60"}).output
    assert "\n  audiotool denoise recordings/ -o cleaned/ --jobs 4 --skip-existing\n" in narrow
    commands = runner.invoke(app_module.app, ["--help"], env={"COLUMNS": "60"}).output
    assert " ".join(commands.split()).count("waveforms, and spectrograms on the mel scale.") == 1


def test_without_words_it_prints_its_help() -> None:
    result = runner.invoke(app_module.app, [])
    assert "Usage: audiotool" in result.output
    assert result.exit_code == 2


def test_version() -> None:
    assert runner.invoke(app_module.app, ["--version"]).output == f"audiotool {__version__}\n"


def test_unknown_command_names_the_nearest() -> None:
    result = runner.invoke(app_module.app, ["denois"])
    assert result.exit_code == 2
    assert "did you mean 'denoise'" in result.output


@pytest.mark.parametrize("word", ["compare", "enhance", "record", "split"])
def test_a_word_that_is_like_no_command_gets_no_guess(word: str) -> None:
    result = runner.invoke(app_module.app, [word])
    assert (result.exit_code, "did you mean" in result.output) == (2, False)


def test_a_recording_in_the_place_of_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notes of today").touch()
    Path("noisy").mkdir()
    for word, quoted in (
        ("gone.flac", "gone.flac"),
        ("notes of today", "'notes of today'"),
        ("noisy", "noisy"),
    ):
        result = runner.invoke(app_module.app, [word], env={"COLUMNS": "200"})
        assert result.exit_code == 2
        assert f"for example: audiotool denoise {quoted}" in result.output


def test_help_is_a_word_too() -> None:
    for line in ("help", "help denoise", "help models list", "models help", "models help list"):
        words = [word for word in line.split() if word != "help"]
        asked, usual = (runner.invoke(app_module.app, each) for each in (line.split(), [*words, "--help"]))
        assert (asked.exit_code, asked.output) == (0, usual.output)


@pytest.mark.parametrize(
    ("kind", "code", "line"),
    [
        ("failed", 1, "audiotool: error: it failed\n"),
        ("recipe", 2, "audiotool: error: key 'x'\n"),
        ("interrupted", 130, "audiotool: interrupted\n"),
        ("bug", 1, "audiotool: internal error: ZeroDivisionError: oops (--debug shows where)\n"),
    ],
)
@pytest.mark.usefixtures("faulty")
def test_errors_are_one_line(kind: str, code: int, line: str) -> None:
    result = runner.invoke(app_module.app, ["faulty", kind])
    assert (result.exit_code, result.stderr, result.stdout) == (code, line, "")


@pytest.mark.usefixtures("faulty")
def test_debug_shows_the_traceback_from_anywhere_on_the_line() -> None:
    for arguments in (["--debug", "faulty", "bug"], ["faulty", "bug", "--debug"]):
        result = runner.invoke(app_module.app, arguments)
        assert isinstance(result.exception, ZeroDivisionError)
    refused = runner.invoke(app_module.app, ["faulty", "--", "--debug"])
    assert "KeyError" in refused.output, "behind -- it is an argument"


@pytest.mark.parametrize("command", ["evaluate", "separate", "serve", "live"])
def test_paragraphs_of_help_fill_their_lines(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = runner.invoke(app_module.app, [command, "--help"]).output
    lines = [line.strip() for line in shown.split("╭")[0].splitlines()]
    inside = [pair for pair in itertools.pairwise(lines) if all(pair)]
    prose = [pair for pair in inside if not pair[1].startswith(("audiotool ", "speaker1"))]
    assert prose
    assert all(len(line) + 1 + len(after.split()[0]) > 78 for line, after in prose), shown


@pytest.mark.parametrize(
    "words", [("{url}",), ("denoise", "in.wav", "--chunk", "{url}"), ("report", "show", "{url}")]
)
@pytest.mark.parametrize("form", [(), ("--progress", "json")])
def test_a_usage_error_quotes_a_url_without_its_credentials(
    words: tuple[str, ...], form: tuple[str, ...]
) -> None:
    url = "http://jane:hunter2@host/a.wav?token=1"
    result = runner.invoke(app_module.app, [word.format(url=url) for word in (*words, *form)])
    assert result.exit_code == 2
    assert not {"hunter2", "token"} & set(re.findall(r"\w+", result.output))
