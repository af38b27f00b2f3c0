"""The command line, in this process and in one of its own. Words may be anything that has a text."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from typer.testing import CliRunner, Result

from audiotool.cli.app import app
from kit.patience import PATIENCE


def run_command(*words: object, **options: Any) -> Result:
    """Run a command in this process; `options` are those of `CliRunner.invoke`."""
    return CliRunner().invoke(app, list(map(str, words)), **options)


def run_process(*words: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own; `options` are those of `subprocess.run`."""
    command = [sys.executable, "-m", "audiotool", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, **options)


LISTING = (
    "import atexit, sys; from audiotool.__main__ import main\n"
    "atexit.register(lambda: print(*sys.modules, file=sys.stderr, flush=True)); main()"
)
"""A program that is the command, and at its end lists the modules it has imported on standard error."""


def imported_by(*words: object) -> set[str]:
    """Run a command, which succeeds, in a process of its own, and return the modules that it has imported."""
    command = [sys.executable, "-c", LISTING, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split())


def one_line(result: Result) -> str:
    """Return the message of a run that failed: one line on stderr, and nothing on stdout."""
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1, result.stderr
    assert result.stderr.startswith("audiotool: ")
    return result.stderr
