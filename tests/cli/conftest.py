"""Commands that several files of tests share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from kit.audio import write_speech
from kit.command import run_command
from typer.testing import Result

from audiotool.models.base import Model


@pytest.fixture(autouse=True)
def lines_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test begins with the events that an earlier command of `--progress json` has asked for."""
    monkeypatch.setattr("audiotool.cli.screen._json_events", False)


@pytest.fixture
def vocode(vocos: Model) -> Callable[..., Result]:
    """Run the command with `vocos` in this process."""
    from kit.vocoders import run

    return lambda *arguments: run("--checkpoint", "vocos.safetensors", *arguments)


@pytest.fixture
def denoise(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run the command in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str | Path, stdin: bytes | None = None) -> Result:
        words = ["denoise", "--checkpoint", str(tiny_checkpoint), "--device", "cpu", *map(str, arguments)]
        return run_command(*words, input=stdin)

    return call


@pytest.fixture
def batch_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, below which `in` holds two recordings and a broken one."""
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b & c"):
        write_speech(Path("in", f"{name}.wav"), 0.5)
    Path("in", "broken.wav").write_bytes(b"RIFF")
    return tmp_path
