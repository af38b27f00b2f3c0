"""scripts/set_beginning.py: live streams begin with what recordings leave in the memories on the mean."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from kit.checkpoints import save_random

from audiotool import checkpoint
from audiotool.models.band_split_gru import BandSplitGRU


@pytest.fixture
def mixtures(tmp_path: Path) -> Path:
    """Two recordings, the second longer than the warm-up."""
    (tmp_path / "mixtures" / "noisy").mkdir(parents=True)
    for n, seconds in enumerate((1, 9)):
        noise = np.random.default_rng(n).standard_normal(seconds * 16000) * 0.05
        soundfile.write(tmp_path / "mixtures" / "noisy" / f"{n}.wav", noise, 16000, subtype="FLOAT")
    return tmp_path / "mixtures"


@pytest.mark.parametrize("memory", [0, 6])
def test_streams_begin_with_a_share_of_the_mean(
    run: Callable[..., str], mixtures: Path, tmp_path: Path, memory: int
) -> None:
    path, output = save_random(tmp_path, "band-split-gru", memory=memory), tmp_path / "begun.safetensors"
    run("set_beginning", output, path, mixtures, "--share", 0.5)
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


def test_other_models_are_refused(run: Callable[..., str], mixtures: Path, tmp_path: Path) -> None:
    path, output = save_random(tmp_path, "gtcrn"), tmp_path / "begun.safetensors"
    with pytest.raises(SystemExit, match="is a gtcrn: only a band-split GRU's beginning can be set"):
        run("set_beginning", output, path, mixtures)
    assert not output.exists()
