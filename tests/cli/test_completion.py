"""Completion by the shell: names of models, recipes, metrics, formats and devices, and paths."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from audiotool import checkpoint, named_checkpoints

PROGRAM = """
import atexit, sys
sys.argv = ["audiotool"]
atexit.register(lambda: print(*sys.modules, file=sys.stderr, flush=True))
from audiotool.__main__ import main
main()
"""
HEAVY = {"torch", "torchaudio", "scipy", "pydantic", "av", "onnxruntime"}


def completed(line: str, **environment: str) -> list[str]:
    """Return what bash is told to offer for the last word of a line; "" is a word, too."""
    words = line.split(" ")
    asked = {"_AUDIOTOOL_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    done = run({**asked, **environment})
    imported = HEAVY & set(done.stderr.split())
    assert not imported
    return done.stdout.split()


def set_up(*words: str, home: Path) -> subprocess.CompletedProcess[str]:
    """`python -m audiotool WORDS` with another home folder."""
    environment = {**os.environ, "HOME": str(home)}
    command = [sys.executable, "-m", "audiotool", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def run(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **environment}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, env=environment
    )


def test_models_are_those_of_the_task(tmp_path: Path) -> None:
    home = named_checkpoints.bundled()
    kept = tmp_path / "checkpoints"
    kept.mkdir()
    (kept / "mine.safetensors").write_bytes(home["denoise-tiny-16k"].read_bytes())
    (kept / "damaged.safetensors").write_bytes(b"no checkpoint")
    found = completed("audiotool denoise --model ", AUDIOTOOL_HOME=str(tmp_path))
    assert found == [*(n for n in home if checkpoint.read_metadata(home[n]).task == "denoise"), "mine"]
    assert completed("audiotool vocode in.npy -o out.wav --model harmonic-vocoder-2") == [
        "harmonic-vocoder-22k",
        "harmonic-vocoder-24k",
    ]


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("audiotool live --model denoise-t", {"denoise-tiny-16k"}),
        ("audiotool serve --model super", {"super-resolve", "super-resolve-48k"}),
        ("audiotool models show sep", {"separate"}),
        ("audiotool train denoise-b", {"denoise-broad"}),
        ("audiotool recipes validate denoise denoise-b", {"denoise-broad"}),
        ("audiotool denoise --recipe denoise-b", {"denoise-broad"}),
        ("audiotool evaluate a b --metrics snr,pesq,pes", {"snr,pesq,pesq_nb"}),
        ("audiotool denoise --format mp", {"mp3", "mp4"}),
        ("audiotool vocode --mel-only --format ", {"npy", "npz", "safetensors"}),
        ("audiotool vocode --preset tacotron", {"tacotron2"}),
        ("audiotool denoise --subtype FL", {"FLOAT"}),
        ("audiotool denoise --raw mu", {"mulaw"}),
        ("audiotool bench --device ", {"auto", "cpu", "cuda", "mps"}),
        ("audiotool denoise --engine on", {"onnx"}),
    ],
)
def test_values(line: str, names: set[str]) -> None:
    assert set(completed(line)) == names


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("audiotool help mod", ["models"]),
        ("audiotool denois eva", ["evaluate"]),
        ("audiotool models lst ver", ["verify"]),
        ("audiotool --version eva", ["evaluate"]),
    ],
)
def test_words_that_end_or_refuse_a_command_are_passed_over(line: str, names: list[str]) -> None:
    assert completed(line) == names


@pytest.mark.parametrize(
    "line",
    [
        "audiotool denoise ",
        "audiotool denoise in.wav -o ",
        "audiotool denoise --checkpoint ",
        "audiotool denoise --recipe ./",
        "audiotool train recipes/",
    ],
)
def test_paths_are_left_to_the_shell(line: str) -> None:
    assert completed(line) == []
    zsh = run({"_AUDIOTOOL_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": line})
    assert zsh.stdout.strip() == "_files"


def test_bash_completes_paths_where_it_is_offered_nothing() -> None:
    assert "complete -o default" in run({"_AUDIOTOOL_COMPLETE": "source_bash"}).stdout


@pytest.mark.parametrize(
    ("shell", "line"),
    [
        ("bash", "complete -o default -F _audiotool_completion audiotool"),
        ("zsh", "#compdef audiotool"),
        ("fish", "complete --command audiotool --no-files"),
        ("powershell", "-CommandName audiotool"),
    ],
)
def test_the_script_is_that_of_the_shell_that_is_named(shell: str, line: str, tmp_path: Path) -> None:
    done = set_up("--show-completion", shell, home=tmp_path)
    assert done.returncode == 0
    assert line in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", ["--show-completion", "--install-completion"])
def test_an_unknown_shell_is_refused(option: str, tmp_path: Path) -> None:
    done = set_up(option, "csh", home=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no completion for 'csh'" in done.stderr
    assert not list(tmp_path.iterdir())


def test_setting_it_up_again_changes_nothing(tmp_path: Path) -> None:
    bashrc = tmp_path / ".bashrc"
    bashrc.write_text("alias x=y\n")
    assert set_up("--install-completion", "bash", home=tmp_path).returncode == 0
    script = tmp_path / ".bash_completions/audiotool.sh"
    before = bashrc.read_text()
    assert before == f"alias x=y\n\nsource '{script}'\n"
    script.unlink()
    assert set_up("--install-completion", "bash", home=tmp_path).returncode == 0
    assert bashrc.read_text() == before
    assert "_audiotool_completion" in script.read_text()


def test_a_home_folder_that_takes_no_files_is_named_with_what_prints_the_script(tmp_path: Path) -> None:
    home = tmp_path / "file"
    home.touch()
    done = set_up("--install-completion", "zsh", home=home)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("audiotool: error: completion is written into the home folder, which fails (")
    assert line.endswith("`audiotool --show-completion zsh` prints it")
    assert str(home) in line
