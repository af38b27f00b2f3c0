"""scripts/average_checkpoints.py: the mean of several runs' weights, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from audiotool import checkpoint
from audiotool.models.registry import MODELS


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
        created="2020-01-01T00:00:00+00:00",
    )
    checkpoint.save(path, tensors, metadata)
    return path


def test_shares_weigh_and_scores_are_not_taken_over(run: Callable[..., str], tmp_path: Path) -> None:
    one, other = trained(tmp_path / "one.safetensors", 1.0), trained(tmp_path / "other.safetensors", 5.0)
    output = tmp_path / "mean.safetensors"
    run("average_checkpoints", output, f"3:{one}", f"1:{other}")
    model, metadata = checkpoint.load(output)
    assert all(bool((tensor == 2.0).all()) for tensor in model.state_dict().values())
    assert metadata.metrics == {}
    assert not metadata.created.startswith("2020")
    assert [source["name"] for source in metadata.sources] == ["common", "one", "other"]
    assert [part["checkpoint"] for part in metadata.training["averaged"]] == ["one", "other"]


def test_other_settings_are_refused(run: Callable[..., str], tmp_path: Path) -> None:
    one, other = (
        trained(tmp_path / "one.safetensors", 1.0),
        trained(tmp_path / "b.safetensors", 1.0, layers=2),
    )
    output = tmp_path / "mean.safetensors"
    with pytest.raises(SystemExit, match="different architectures or settings"):
        run("average_checkpoints", output, f"1:{one}", f"1:{other}")
    assert not output.exists()


@pytest.mark.parametrize("part", ["denoise-16k", "inf:denoise-16k", "nan:denoise-16k", "0:denoise-16k"])
def test_a_part_without_a_finite_share_is_explained(
    run: Callable[..., str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    part: str,
) -> None:
    with pytest.raises(SystemExit):
        run("average_checkpoints", tmp_path / "mean.safetensors", part)
    assert f"'{part}' is not SHARE:CHECKPOINT" in capsys.readouterr().err


def test_a_source_of_two_parts_is_listed_once(run: Callable[..., str], tmp_path: Path) -> None:
    """Runs on one set may know of other amounts of it."""
    parts = [trained(tmp_path / f"{name}.safetensors", 1.0) for name in ("one", "other")]
    for path, seconds in zip(parts, (60.0, 90.5), strict=True):
        model, metadata = checkpoint.load(path)
        metadata.sources[0]["seconds"] = seconds
        checkpoint.save(path, model.state_dict(), metadata)
    output = tmp_path / "mean.safetensors"
    run("average_checkpoints", output, *(f"1:{path}" for path in parts))
    found = {source["name"]: source.get("seconds") for source in checkpoint.read_metadata(output).sources}
    assert found == {"common": 90.5, "one": None, "other": None}


def test_excluded_tensors_are_those_of_the_first(run: Callable[..., str], tmp_path: Path) -> None:
    one = trained(tmp_path / "one.safetensors", 1.0, learnt_start=True)
    other = trained(tmp_path / "other.safetensors", 5.0)
    output = tmp_path / "mean.safetensors"
    words = (output, f"1:{one}", f"1:{other}")
    with pytest.raises(SystemExit, match="different architectures or settings"):
        run("average_checkpoints", *words)
    run("average_checkpoints", *words, "--own", "layers.*.beginning.*")
    for name, tensor in checkpoint.load(output)[0].state_dict().items():
        assert bool((tensor == (1.0 if "beginning" in name else 3.0)).all()), name
    with pytest.raises(SystemExit, match="different tensors"):
        run("average_checkpoints", *words, "--own", "masks.*", "--overwrite")
