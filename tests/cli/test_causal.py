"""Live streams refuse models that look ahead, and name the causal ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from kit.checkpoints import save_model, save_tiny
from kit.command import run_command
from kit.models import build

from audiotool import named_checkpoints
from audiotool.cli import live
from audiotool.live.backend import Device, Form


class Devices:
    """One device that takes everything."""

    def devices(self) -> list[Device]:
        return [Device(0, "Built-in Audio", 2, 2, 16000)]

    def defaults(self) -> tuple[int, int]:
        return 0, 0

    def takes(self, form: Form) -> None:
        return None


@pytest.mark.parametrize("command", ["live", "serve"])
def test_models_that_look_ahead(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIOTOOL_HOME", str(tmp_path))
    folder = named_checkpoints.user_root()
    folder.mkdir(parents=True, exist_ok=True)
    save_tiny(folder / "mine.safetensors")
    save_model(folder / "ahead.safetensors", build("mp-senet"), "denoise")
    (folder / "broken.safetensors").write_bytes(b"x" * 100)
    monkeypatch.setattr(live, "open_backend", Devices)
    done = run_command(command, "--checkpoint", folder / "ahead.safetensors")
    assert done.exit_code != 0
    printed = " ".join(done.output.split())
    assert "mp-senet looks ahead and cannot run live; causal ones are: " in printed
    names = set(printed.rpartition(": ")[2].rstrip(".").split(", "))
    assert {"denoise-16k", "denoise-tiny-16k", "mine"} <= names
    assert not names & {"ahead", "broken", "separate-16k"}


def test_live_takes_any_task_that_gives_speech(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "open_backend", Devices)
    for name in ("two-speakers-16k", "super-resolve-48k", "harmonic-vocoder-22k"):
        done = run_command("live", "--model", name)
        assert done.exit_code == 2
        assert "live needs a checkpoint that gives speech" in done.output
