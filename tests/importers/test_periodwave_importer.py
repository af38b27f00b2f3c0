"""Official PeriodWave files: variants, energy statistics, refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from audiotool.errors import CheckpointError
from audiotool.importers.base import import_checkpoint, recognise
from audiotool.importers.torch_file import read_torch

PACKS = Path(__file__).parents[1] / "data" / "parity" / "periodwave"


def changed_config(folder: Path, **data: Any) -> Path:
    values = json.loads((PACKS / "base_small" / "config.json").read_text())
    values["data"].update(data)
    path = folder / "config.json"
    path.write_text(json.dumps(values))
    return path


def test_variants_are_distinguished_by_their_tensors() -> None:
    found = {}
    for pack in ("base_small", "large_small", "encodec_small"):
        folder = PACKS / pack
        model, metadata = import_checkpoint(folder / "G_10000.pth", "periodwave", folder / "config.json")
        c = model.config
        shrink = c.hidden_dim // c.embedding_dim
        found[pack] = (c.features, c.dilations, shrink, model.upsampling, c.noise_scale)
        assert metadata.sample_rate == 24000
    assert found == {
        "base_small": ("mel", (1, 2, 4), 2, 256, 0.5),
        "large_small": ("mel", (1, 2, 1, 4), 2, 256, 0.5),
        "encodec_small": ("encodec", (1, 2, 4), 1, 320, 0.25),
    }


def test_turbo_reads_the_same_files() -> None:
    folder = PACKS / "base_small"
    model, _ = import_checkpoint(folder / "G_10000.pth", "periodwave-turbo", folder / "config.json")
    assert (model.name, model.config.steps, model.config.solver) == ("periodwave-turbo", 4, "euler")


def test_recognised_as_periodwave() -> None:
    assert recognise(read_torch(PACKS / "base_small" / "G_10000.pth")) == ["periodwave"]


def test_energy_statistics_beside_the_configuration(tmp_path: Path) -> None:
    np.save(tmp_path / "low.npy", np.float32(0.25))
    np.save(tmp_path / "high.npy", np.float32(8.0))
    config = changed_config(tmp_path, energy_min="stats/low.npy", energy_max="high.npy")
    model, _ = import_checkpoint(PACKS / "base_small" / "G_10000.pth", "periodwave", config)
    assert (model.config.energy_min, model.config.energy_max) == (0.25, 8.0)


def test_invalid_energy_statistics(tmp_path: Path) -> None:
    (tmp_path / "low.npy").write_text("no array")
    config = changed_config(tmp_path, energy_min="low.npy")
    with pytest.raises(CheckpointError, match="does not hold one number"):
        import_checkpoint(PACKS / "base_small" / "G_10000.pth", "periodwave", config)


@pytest.mark.parametrize(("there", "missing"), [("energy_min", "max.npy"), ("energy_max", "min.npy")])
def test_one_energy_file_alone_is_not_mixed_with_the_published_ones(
    tmp_path: Path, there: str, missing: str
) -> None:
    np.save(tmp_path / "here.npy", np.float32(0.5))
    config = changed_config(tmp_path, **{"energy_min": "min.npy", "energy_max": "max.npy", there: "here.npy"})
    with pytest.raises(CheckpointError, match=f"names {missing}: put both files beside"):
        import_checkpoint(PACKS / "base_small" / "G_10000.pth", "periodwave", config)


def test_energy_statistics_missing_at_another_rate(tmp_path: Path) -> None:
    config = changed_config(tmp_path, sampling_rate=48000)
    with pytest.raises(CheckpointError, match="no published statistics for 48000 Hz"):
        import_checkpoint(PACKS / "base_small" / "G_10000.pth", "periodwave", config)


def test_published_statistics_by_sample_rate(tmp_path: Path) -> None:
    config = changed_config(tmp_path, sampling_rate=22050, mel_fmax=8000)
    model, _ = import_checkpoint(PACKS / "base_small" / "G_10000.pth", "periodwave", config)
    assert (model.config.energy_min, model.config.energy_max) == (0.06902337, 5.42367)


def test_needs_its_configuration() -> None:
    with pytest.raises(CheckpointError, match=r"needs its official configuration: give it with --config"):
        import_checkpoint(PACKS / "base_small" / "G_10000.pth", "periodwave")


def test_unknown_depth_is_refused(tmp_path: Path) -> None:
    official = read_torch(PACKS / "base_small" / "G_10000.pth")
    kept = {k: v for k, v in official["model"].items() if ".mids.0.ResBlocks.2." not in k}
    torch.save({"model": kept}, tmp_path / "G_1.pth")
    shutil.copy(PACKS / "base_small" / "config.json", tmp_path)
    with pytest.raises(CheckpointError, match="has 2 middle residual blocks: expected 3 or 4"):
        import_checkpoint(tmp_path / "G_1.pth", "periodwave", tmp_path / "config.json")
