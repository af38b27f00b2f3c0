"""scripts/bundle_checkpoint.py: weights in half precision, those of large tensors in 9 bits; scores."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bundle_checkpoint
import pytest
import torch
import update_manifest
from kit.command import run_command

from audiotool import checkpoint, named_checkpoints


def test_bundle_checkpoint(
    run: Callable[..., str], denoiser: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, data = tmp_path / "bundled", tmp_path / "data"
    folder.mkdir()
    data.symlink_to(Path(__file__).parents[1] / "data" / "audio")
    found = named_checkpoints.bundled_root
    monkeypatch.setattr(
        named_checkpoints, "bundled_root", lambda w: folder if w == "checkpoints" else found(w)
    )
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    short = ["data.speech=[manifest.csv]", "data.noise=[manifest.csv]", "data.rir=[manifest.csv]"]
    short += ["data.splits.test=[train]", "validation.seconds=1", f"data.cache={tmp_path / 'decoded'}"]

    def here(words: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        words = words[3:] + ([x for s in short for x in ("--set", s)] if words[3] == "data" else [])
        result = run_command(*words)
        assert result.exit_code == 0, result.output
        return subprocess.CompletedProcess(words, 0, "", "")

    monkeypatch.setattr(subprocess, "run", here)
    exported: list[Path] = []

    def export(path: Path, to: Path, **_: Any) -> tuple[None, SimpleNamespace]:
        """tests/exporting writes graphs."""
        exported.append(to)
        return None, SimpleNamespace(worst=0.0)

    monkeypatch.setattr(update_manifest, "export", export)
    words = (denoiser, "--name", "mine", "--data", data, "--recipe", "denoise", "--count", 1)
    assert "test, 1 files" in run("bundle_checkpoint", *words)
    assert {path.name for path in folder.iterdir()} == {
        "mine.safetensors",
        "mine.md",
        named_checkpoints.MANIFEST,
    }
    assert exported == [folder / "mine.onnx"]
    metadata = checkpoint.read_metadata(folder / "mine.safetensors")
    assert metadata.metrics["test, 1 files"].keys() >= {"stoi", "si_sdr"}
    assert bundle_checkpoint.commands("mine", "denoise", "denoise", 1, 0) == metadata.commands


def test_bundled_files_stay_where_there_is_no_data(
    run: Callable[..., str], denoiser: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(named_checkpoints, "bundled_root", lambda what: tmp_path)
    for ending in ("safetensors", "onnx", "json", "md"):
        (tmp_path / f"mine.{ending}").write_text(ending)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    def without_data(words: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        assert words[3:5] == ["data", "mix"]
        return subprocess.CompletedProcess(words, 2)

    monkeypatch.setattr(subprocess, "run", without_data)
    words = ("--name", "mine", "--data", tmp_path / "nosuch")
    with pytest.raises(SystemExit) as ended:
        run("bundle_checkpoint", denoiser, *words, "--recipe", "denoise")
    assert ended.value.code == 2
    with pytest.raises(SystemExit):
        run("bundle_checkpoint", denoiser, *words)  # a test set is a recipe's
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_large_tensors_lose_their_last_bit_and_no_more() -> None:
    values = torch.cat((torch.randn(5000), torch.tensor([0.0, -0.0, 65504.0, -65504.0, 6e-8, 1.0])))
    packed = bundle_checkpoint.packed(values)
    assert packed.dtype is torch.float16
    assert not (packed.view(torch.int16) & 1).any()
    normal = values.abs() >= 2.0**-14
    assert ((packed.float() - values)[normal].abs() <= values[normal].abs() * 2.0**-10 * 1.5).all()
    assert (packed[values == 0] == 0).all()
    assert packed.isfinite().all()
    assert torch.equal(packed.sign()[normal].float(), values.sign()[normal])


def test_small_ones_and_integers_stay() -> None:
    values = torch.randn(40, 3)
    assert torch.equal(bundle_checkpoint.packed(values), values.half())
    assert torch.equal(bundle_checkpoint.packed(torch.arange(9000)), torch.arange(9000))
    odd = torch.full((5000,), torch.inf)
    assert torch.equal(bundle_checkpoint.packed(odd), odd.half())
