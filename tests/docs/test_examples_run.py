"""README and guides: the Python blocks run, and so do README's commands, on a second of sound."""

from __future__ import annotations

import dataclasses
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from kit.audio import speech_like, write_speech
from typer.testing import CliRunner

from audiotool import checkpoint
from audiotool.cli.app import app

ROOT = Path(__file__).parents[2]
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHELL = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
NOT_HERE = ("train", "doctor", "live", "serve")
"""What takes long, or tells about the machine: other tests run these."""


@pytest.mark.parametrize("page", ["README.md", "docs/guides/python.md"])
def test_python_blocks(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    shutil.copy(checkpoint.resolve("denoise-tiny-16k"), tmp_path / "runs" / "mine" / "mine-best.safetensors")
    waveform = speech_like(1.0, 16000)[0]
    blocks = np.split(waveform, 10)
    heard: list[object] = []
    names = {
        "waveform": waveform,
        "samples": blocks[0],
        "sample_rate": 16000,
        "blocks": blocks,
        "block": blocks[0],
        "microphone": blocks,
        "consume": heard.append,
        "dataclasses": dataclasses,
    }
    found = PYTHON.findall((ROOT / page).read_text(encoding="utf-8"))
    assert found
    for block in found:
        exec(compile(block, page, "exec"), names)
    assert names["enhanced"].shape == waveform.shape


def test_readme_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folders = [f"{folder}/{name}" for folder in ("recordings", "takes", "truth") for name in "ab"]
    for name in ("noisy", "talk", "meeting", "show", "phone", *folders):
        write_speech(tmp_path / f"{name}.wav", 1.0, 8000 if name == "phone" else 16000)
    np.save(tmp_path / "mel.npy", np.full((80, 40), -5.0, np.float32))
    blocks = SHELL.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("audiotool ")]
    ran = 0
    for line in lines:
        words = shlex.split(line, comments=True)[1:]
        if words[0] in NOT_HERE:
            continue
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, f"{line}\n{result.output}"
        ran += 1
    assert ran >= 7
    for output in ("clean.wav", "cleaned/b.wav", "soft.wav", "wide.wav", "out.wav"):
        assert (tmp_path / output).is_file(), output
    assert len(list((tmp_path / "stems").iterdir())) == 4
