"""A model of another package that breaks the contract is an error that names it, not an output."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from kit.checkpoints import save_model
from kit.plugin import install_plugin

import audiotool
from audiotool.errors import AudiotoolError, CheckpointError, InputError
from audiotool.models.registry import MODELS

MODEL = """
from dataclasses import dataclass
import torch
from audiotool.models.base import Model
from audiotool.models.layers.conv import StreamingConv1d

@dataclass(frozen=True)
class Config:
    taps: int = 33

class Broken(Model):
    name = "broken"
    config_class = Config

    def __init__(self, config):
        super().__init__(config)
        self.sample_rate = 16000
        self.hop_length = 1
        self.filter = StreamingConv1d(1, 1, config.taps, left_padding=config.taps - 1)

    def step(self, x, state=None, final=False):
        y, state = self.filter(x, state)
        return y, state
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("broken_model", None)


def installed(place: Path, old: str = "", new: str = "") -> Path:
    """Install the model with a change, and return a checkpoint of it."""
    text = MODEL.replace(old, new)
    sys.modules.pop("broken_model", None)
    install_plugin(
        place, "acme", {"broken_model": text}, {"audiotool.models": {"broken": "broken_model:Broken"}}
    )
    return save_model(place / "broken.safetensors", MODELS.get("broken").from_config(), "denoise")


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (
            "y.repeat(1, 2, 1), state",
            r"model 'broken' gives an output of shape \(1, 2, \d+\), and not \(1, 1, ",
        ),
        ("y[:, 0], state", r"model 'broken' gives an output of shape \(1, \d+\), and not \(1, 1, "),
        ("y.repeat_interleave(2, -1), state", "model 'broken' gives 3200 samples in place of 1600"),
        ("y", r"model 'broken' of package acme 1\.0 failed: ValueError: not enough values"),
        ("1 // 0", r"model 'broken' of package acme 1\.0 failed: ZeroDivisionError: "),
    ],
)
def test_an_output_that_breaks_the_contract(place: Path, result: str, message: str) -> None:
    pipeline = audiotool.load(installed(place, "return y, state", f"return {result}"))
    with pytest.raises(AudiotoolError, match=message):
        pipeline(np.ones(1600, np.float32), 16000)


def test_what_is_not_finite_names_the_model(place: Path) -> None:
    pipeline = audiotool.load(installed(place, "return y, state", "return y * float('nan'), state"))
    audiotool.write(place / "a.wav", np.ones(1600, np.float32), 16000)
    with pytest.raises(InputError, match="the model 'broken' answered with NaN"):
        pipeline.process_file(place / "a.wav", place / "b.wav")


def test_a_checkpoint_whose_package_is_missing(place: Path) -> None:
    path = installed(place)
    shutil.rmtree(place / "acme-1.0.dist-info")
    message = rf"{path} holds a model 'broken' that is not installed here: install the package that adds it"
    with pytest.raises(CheckpointError, match=message):
        audiotool.load(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "self.hop_length = 1",
            "self.hop_length = 0",
            "broken: its hop_length is no whole number above 0, but 0",
        ),
        ("self.sample_rate = 16000", "pass", "broken: its sample_rate is no whole number above 0, but None"),
    ],
)
def test_facts_that_a_model_must_state(place: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        installed(place, old, new)
