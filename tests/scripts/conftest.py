"""How tests run scripts, and what they run them on."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from kit.audio import write_speech
from kit.checkpoints import save_model

from audiotool.models.registry import MODELS


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """`python scripts/NAME.py WORDS`, in this process; returns what it prints."""

    def main(name: str, *words: object) -> str:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, words)])
        importlib.import_module(name).main()
        return capsys.readouterr().out

    return main


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """A second of speech at 16 kHz."""
    return write_speech(tmp_path / "speech.wav", 1.0)


@pytest.fixture
def denoiser(tmp_path: Path) -> Path:
    """A checkpoint of a band-split GRU with random weights, which a graph can be written of."""
    model = MODELS.get("band-split-gru")
    tiny = model.from_config({**model.small, "dim": 8, "layers": 1}).eval()
    return save_model(tmp_path / "denoiser.safetensors", tiny, "denoise")
