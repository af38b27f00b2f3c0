"""scripts/average_checkpoints.py: the mean of several runs' weights, and what it refuses."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from audiotool import checkpoint
from audiotool.models.registry import MODELS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def script() -> ModuleType:
    return importlib.import_module("average_checkpoints")


def trained(path: Path, value: float, **config: int) -> Path:
    """A small denoiser whose weights all have one value."""
    model = MODELS.get("band-split-gru").from_config({**MODELS.get("band-split-gru").small, **config})
    tensors = {name: torch.full_like(tensor, value) for name, tensor in model.state_dict().items()}
    metadata = checkpoint.Metadata(
        "denoise",
        checkpoint.describe_model(model),
        model.sample_rate,
        sources=[{"name": "common", "licence": "MIT"}, {"name": path.stem, "licence": "MIT"}],
        metrics={"valid": {"pesq": 2.0}},
    )
    checkpoint.save(path, tensors, metadata)
    return path


def test_shares_weigh_and_scores_are_not_taken_over(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = trained(tmp_path / "one.safetensors", 1.0), trained(tmp_path / "other.safetensors", 5.0)
    output = tmp_path / "mean.safetensors"
    monkeypatch.setattr(sys, "argv", ["average", str(output), f"3:{one}", f"1:{other}"])
    script.main()
    model, metadata = checkpoint.load(output)
    assert all(bool((tensor == 2.0).all()) for tensor in model.state_dict().values())
    assert metadata.metrics == {}
    assert [source["name"] for source in metadata.sources] == ["common", "one", "other"]
    assert [part["checkpoint"] for part in metadata.training["averaged"]] == ["one", "other"]


def test_other_settings_are_refused(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = (
        trained(tmp_path / "one.safetensors", 1.0),
        trained(tmp_path / "b.safetensors", 1.0, layers=2),
    )
    output = tmp_path / "mean.safetensors"
    monkeypatch.setattr(sys, "argv", ["average", str(output), f"1:{one}", f"1:{other}"])
    with pytest.raises(SystemExit, match="different architectures or settings"):
        script.main()
    assert not output.exists()


@pytest.mark.parametrize("part", ["denoise-16k", "inf:denoise-16k", "nan:denoise-16k", "0:denoise-16k"])
def test_a_part_without_a_finite_share_is_explained(
    script: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    part: str,
) -> None:
    monkeypatch.setattr(sys, "argv", ["average", str(tmp_path / "mean.safetensors"), part])
    with pytest.raises(SystemExit):
        script.main()
    assert f"'{part}' is not SHARE:CHECKPOINT" in capsys.readouterr().err


def test_a_source_of_two_parts_is_listed_once(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs on one set may know of other amounts of it."""
    parts = [trained(tmp_path / f"{name}.safetensors", 1.0) for name in ("one", "other")]
    for path, seconds in zip(parts, (60.0, 90.5), strict=True):
        model, metadata = checkpoint.load(path)
        metadata.sources[0]["seconds"] = seconds
        checkpoint.save(path, model.state_dict(), metadata)
    output = tmp_path / "mean.safetensors"
    monkeypatch.setattr(sys, "argv", ["average", str(output), *(f"1:{path}" for path in parts)])
    script.main()
    found = {source["name"]: source.get("seconds") for source in checkpoint.read_metadata(output).sources}
    assert found == {"common": 90.5, "one": None, "other": None}


def test_excluded_tensors_are_those_of_the_first(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = trained(tmp_path / "one.safetensors", 1.0, learnt_start=True)
    other = trained(tmp_path / "other.safetensors", 5.0)
    output = tmp_path / "mean.safetensors"
    monkeypatch.setattr(sys, "argv", ["average", str(output), f"1:{one}", f"1:{other}"])
    with pytest.raises(SystemExit, match="different architectures or settings"):
        script.main()
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--own", "layers.*.beginning.*"])
    script.main()
    for name, tensor in checkpoint.load(output)[0].state_dict().items():
        assert bool((tensor == (1.0 if "beginning" in name else 3.0)).all()), name
    monkeypatch.setattr(sys, "argv", [*sys.argv[:-1], "masks.*"])
    with pytest.raises(SystemExit, match="different tensors"):
        script.main()
