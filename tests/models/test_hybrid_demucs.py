"""Hybrid Demucs: official packages and torchaudio's state dicts give the official stems."""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from kit.learning import l1, learn
from kit.parity import relative_error
from kit.streams import stream
from safetensors.torch import load_file

from audiotool.errors import CheckpointError
from audiotool.importers.base import import_checkpoint
from audiotool.models.hybrid_demucs import HybridDemucs, HybridDemucsConfig

PACKS = Path(__file__).parent.parent / "data" / "parity" / "hybrid_demucs"
TINY = HybridDemucsConfig(
    sources=("speech", "noise"),
    sample_rate=8000,
    audio_channels=1,
    channels=8,
    n_fft=1024,
    depth=5,
    dconv_attn=9,
    dconv_lstm=9,
)


@pytest.mark.parametrize(
    ("variant", "file", "config"),
    [
        ("nfft4096", "official_checkpoint.th", None),
        ("nfft1024_mono", "official_checkpoint.th", None),
        ("torchaudio_nfft1024", "official_checkpoint.pt", "config.json"),
        ("bands_dconv3", "official_checkpoint.th", None),
        ("spectrum_magnitude", "official_checkpoint.th", None),
    ],
)
@torch.no_grad()
def test_official_stems(variant: str, file: str, config: str | None) -> None:
    folder = PACKS / variant
    model, metadata = import_checkpoint(folder / file, "hybrid-demucs", config and folder / config)
    pack = load_file(folder / "io.safetensors")
    for n in ("0", "1"):
        if f"mix{n}" not in pack:
            continue
        mixture, stems = pack[f"mix{n}"], pack[f"out{n}"]
        assert relative_error(model(mixture), stems) <= 1e-4
        torch.testing.assert_close(model.process(mixture), model(mixture).flatten(1, 2))
        assert model.channels == mixture.shape[1]
        assert len(model.stems) == stems.shape[1]
    if "loss.target" in pack:
        losses = (model(pack["mix0"]) - pack["loss.target"]).abs().mean((0, 2, 3))
        torch.testing.assert_close(losses, pack["loss.l1_per_source"], rtol=1e-4, atol=0)
    assert metadata.task == "separate"


def test_packages_carry_their_configuration() -> None:
    model, metadata = import_checkpoint(PACKS / "nfft1024_mono" / "official_checkpoint.th", "hybrid-demucs")
    assert (model.stems, model.channels, model.sample_rate) == (("clean",), 1, 16000)
    assert metadata.licence == "MIT"


@pytest.mark.parametrize(
    ("values", "count"),
    [
        ({}, 83_637_832),
        ({"sources": ("clean",), "audio_channels": 1}, 83_628_595),
        ({"n_fft": 1024, "depth": 5}, 20_040_296),
        ({"n_fft": 2048}, 78_908_488 - 1536),  # torchaudio counts a norm that nothing reads
    ],
)
def test_parameter_count(values: dict[str, Any], count: int) -> None:
    with torch.device("meta"):
        assert HybridDemucs.from_config(values).parameter_count == count


def test_overfits() -> None:
    torch.manual_seed(0)
    model = HybridDemucs(TINY)
    target = torch.stack((torch.sin(torch.arange(2048) / 9), 0.1 * torch.randn(2048)))[None]
    batch = {"input": target.sum(1, keepdim=True), "target": target}
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = learn(model, batch, l1, optimiser, 10)
    assert losses[1] < losses[0]
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("length", [0, 1, 2, 300, 2049])
@torch.no_grad()
def test_any_length(length: int) -> None:
    torch.manual_seed(0)
    y = HybridDemucs(TINY).eval().process(0.1 * torch.randn(1, 1, length))
    assert y.shape == (1, 2, length)
    assert y.isfinite().all()


@torch.no_grad()
def test_one_segment_of_overlap_add_equals_whole() -> None:
    torch.manual_seed(0)
    model = HybridDemucs(TINY).eval()
    x = 0.1 * torch.randn(1, 1, 3000)
    torch.testing.assert_close(stream(model, chunk=4096).process(x, 700), model.process(x))


def repackage(path: Path, change: Any) -> Path:
    """A package with something changed, its class reference still that of HDemucs."""
    from audiotool.importers.torch_file import read_torch

    package = read_torch(PACKS / "nfft1024_mono" / "official_checkpoint.th", ["demucs.hdemucs.HDemucs"])
    change(package)
    module = type(sys)("demucs.hdemucs")
    klass = package["klass"]
    klass.__module__ = "demucs.hdemucs"
    klass.__qualname__ = klass.__name__ = "HDemucs"
    module.HDemucs = klass  # type: ignore[attr-defined]
    parent = type(sys)("demucs")
    parent.hdemucs = module  # type: ignore[attr-defined]
    sys.modules.update({"demucs": parent, "demucs.hdemucs": module})
    try:
        torch.save(package, path)
    finally:
        del sys.modules["demucs"], sys.modules["demucs.hdemucs"]
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p["kwargs"].update(wiener_residual=True), "wiener_residual=True is not supported"),
        (lambda p: p["kwargs"].update(cac=False, wiener_iters=2), "wiener_iters: found 2, should be 0 or -1"),
        (lambda p: p["kwargs"].update(dconv_mode=4), "dconv_mode: found 4, should be 0, 1, 2 or 3"),
        (lambda p: p["kwargs"].update(dconv_mode=3), "missing"),
        (lambda p: p["kwargs"].update(depth=3), "do not bring"),
        (lambda p: p["kwargs"].update(bands=3), "unknown official options: bands"),
        (lambda p: p.update(args=(4,)), "by position"),
        (lambda p: p.update(state={"__quantized": True}), "quantised"),
    ],
)
def test_packages_that_do_not_fit_are_refused(tmp_path: Path, change: Any, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        import_checkpoint(repackage(tmp_path / "package.th", change), "hybrid-demucs")


def test_official_defaults_written_out_are_accepted(tmp_path: Path) -> None:
    options = {"cac": True, "multi_freqs": [], "channels_time": None, "dconv_mode": 1, "wiener_iters": 0}
    path = repackage(tmp_path / "package.th", lambda p: p["kwargs"].update(options))
    assert import_checkpoint(path, "hybrid-demucs")[0].stems == ("clean",)


class Elsewhere:
    """A class that no package may bring."""


def test_other_classes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "package.th"
    torch.save({"klass": Elsewhere, "args": (), "kwargs": {}, "state": {}}, path)
    with pytest.raises(CheckpointError, match="refused"):
        import_checkpoint(path, "hybrid-demucs")


def test_the_hybrid_transformer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = type(sys)("demucs.htdemucs")
    klass = type("HTDemucs", (), {"__module__": "demucs.htdemucs"})
    module.HTDemucs = klass  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "demucs", type(sys)("demucs"))
    monkeypatch.setitem(sys.modules, "demucs.htdemucs", module)
    path = tmp_path / "package.th"
    kwargs = {"sources": ["drums"], "segment": Fraction(39, 5)}
    torch.save({"klass": klass, "args": (), "kwargs": kwargs, "state": {}}, path)
    with pytest.raises(CheckpointError, match="another network of the project, HTDemucs: only HDemucs"):
        import_checkpoint(path, "hybrid-demucs")


def test_a_state_dict_needs_its_arguments(tmp_path: Path) -> None:
    path = PACKS / "torchaudio_nfft1024" / "official_checkpoint.pt"
    with pytest.raises(CheckpointError, match=r"--config network\.json"):
        import_checkpoint(path, "hybrid-demucs")
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"sources": ["speech"], "nfft": 1024, "depth": 5, "channels": 6}))
    with pytest.raises(CheckpointError, match="of another shape"):
        import_checkpoint(path, "hybrid-demucs", config)
