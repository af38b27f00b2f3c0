"""scripts/set_beginning.py: live streams begin with what recordings leave in the memories on the mean."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
import torch

from audiotool import checkpoint
from audiotool.models.band_split_gru import BandSplitGRU
from audiotool.models.registry import MODELS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def script() -> ModuleType:
    return importlib.import_module("set_beginning")


@pytest.fixture
def mixtures(tmp_path: Path) -> Path:
    """Two recordings, the second longer than the warm-up."""
    (tmp_path / "mixtures" / "noisy").mkdir(parents=True)
    for n, seconds in enumerate((1, 9)):
        noise = np.random.default_rng(n).standard_normal(seconds * 16000) * 0.05
        soundfile.write(tmp_path / "mixtures" / "noisy" / f"{n}.wav", noise, 16000, subtype="FLOAT")
    return tmp_path / "mixtures"


def saved(folder: Path, name: str, **config: int) -> Path:
    path = folder / f"{name}.safetensors"
    model = MODELS.get(name).from_config({**MODELS.get(name).small, **config})
    metadata = checkpoint.Metadata("denoise", checkpoint.describe_model(model), model.sample_rate)
    checkpoint.save(path, model.state_dict(), metadata)
    return path


@pytest.mark.parametrize("memory", [0, 6])
def test_streams_begin_with_a_share_of_the_mean(
    script: ModuleType, mixtures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: int
) -> None:
    path, output = saved(tmp_path, "band-split-gru", memory=memory), tmp_path / "begun.safetensors"
    monkeypatch.setattr(sys, "argv", ["set", str(output), str(path), str(mixtures), "--share", "0.5"])
    script.main()
    before, after = checkpoint.load(path)[0], checkpoint.load(output)[0]
    assert isinstance(before, BandSplitGRU)
    assert isinstance(after, BandSplitGRU)
    recordings = [soundfile.read(file, dtype="float32")[0] for file in sorted((mixtures / "noisy").iterdir())]
    with torch.inference_mode():
        left = [before.warm_up(torch.from_numpy(x[: 8 * 16000])[None, None]) for x in recordings]
    for name in ("layers", "memories"):
        for n, part in enumerate(getattr(after, name)):
            mean = sum(memories[name][n] for memories in left) / len(left)
            torch.testing.assert_close(part.beginning.values.detach(), 0.5 * mean.flatten())
    x = torch.randn(1, 1, 8000)
    memories = before.warm_up(x)
    with torch.inference_mode():
        warmed_up = [model.step(x, model.start(memory=memories), final=True)[0] for model in (before, after)]
    torch.testing.assert_close(*warmed_up, atol=0, rtol=0)


def test_other_models_are_refused(
    script: ModuleType, mixtures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, output = saved(tmp_path, "gtcrn"), tmp_path / "begun.safetensors"
    monkeypatch.setattr(sys, "argv", ["set", str(output), str(path), str(mixtures)])
    with pytest.raises(SystemExit, match="is a gtcrn: only a band-split GRU's beginning can be set"):
        script.main()
    assert not output.exists()
