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
