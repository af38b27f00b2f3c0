"""A task of another package, done by several workers: each of them finds it as the command did."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile
from kit.audio import write_speech
from kit.checkpoints import TINY, save_model
from kit.command import run_command
from kit.plugin import TASK, install_plugin

from audiotool.models.cleanunet import CleanUNet


def test_workers_do_a_task_of_another_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    points = {"audiotool.tasks": {"declip": "rooms_task:Declip"}}
    install_plugin(tmp_path, "rooms-task", {"rooms_task": TASK}, points)
    save_model(Path("tiny.safetensors"), CleanUNet(TINY), "declip")
    for n in range(3):
        write_speech(Path(f"in/{n}.wav"), 0.2)
    words = ["declip", "in", "-o", "out", "--checkpoint", "tiny.safetensors", "--device", "cpu"]
    asked = ["--jobs", "2", "--reference", "in", "--report", "report.json"]
    result = run_command(*words, *asked)
    assert result.exit_code == 0, result.output
    assert [soundfile.info(f"out/{n}.wav").frames for n in range(3)] == [3200] * 3
    rows = json.loads(Path("report.json").read_text())["files"]
    assert [row["file"] for row in rows] == ["0.wav", "1.wav", "2.wav"]
    assert all(row["si_sdr"] is not None for row in rows)
