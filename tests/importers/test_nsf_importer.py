"""Official neural source-filter files: containers, variants, constants."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from audiotool.errors import CheckpointError
from audiotool.importers.base import import_checkpoint, recognise
from audiotool.importers.torch_file import read_torch

PACKS = Path(__file__).parents[1] / "data" / "parity" / "nsf"


def test_epoch_file_holds_the_same_network() -> None:
    folder = PACKS / "hn_sinc_nsf_10_small"
    final, _ = import_checkpoint(folder / "trained_network.pt", "nsf")
    epoch, _ = import_checkpoint(folder / "epoch_001.pt", "nsf")
    assert all(torch.equal(a, b) for a, b in zip(final.parameters(), epoch.parameters(), strict=True))


@pytest.mark.parametrize("variant", ["hn-sinc-nsf-9", "hn-sinc-nsf-10", "hn-nsf"])
def test_sizes_come_from_the_tensors(variant: str) -> None:
    folder = PACKS / f"{variant.replace('-', '_')}_small"
    model, metadata = import_checkpoint(folder / "trained_network.pt", "nsf")
    config = model.config
    assert config.variant == variant
    assert (config.hidden_dim, config.filter_blocks, config.convs_per_block, config.harmonics) == (
        16,
        2,
        6,
        6,
    )
    assert (model.mel.n_mels, model.mel.hop_length, model.input_channels) == (20, 80, 21)  # type: ignore[union-attr]
    assert metadata.task == "vocode"
    assert metadata.licence == "BSD-3-Clause"


def test_trained_on_several_devices(tmp_path: Path) -> None:
    tensors = read_torch(PACKS / "hn_nsf_small" / "trained_network.pt")
    torch.save({f"module.{k}": v for k, v in tensors.items()}, tmp_path / "trained_network.pt")
    model, _ = import_checkpoint(tmp_path / "trained_network.pt", "nsf")
    assert model.parameter_count == 28_947


def test_recognised() -> None:
    assert "nsf" in recognise(read_torch(PACKS / "hn_nsf_small" / "trained_network.pt"))


def test_configuration_of_another_variant(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"project": "hn-nsf"}))
    with pytest.raises(CheckpointError, match="is for hn-nsf, but the tensors are those of hn-sinc-nsf-10"):
        import_checkpoint(
            PACKS / "hn_sinc_nsf_10_small" / "trained_network.pt", "nsf", tmp_path / "config.json"
        )


def test_sample_rate_from_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"wav_samp_rate": 24000}))
    model, _ = import_checkpoint(
        PACKS / "hn_sinc_nsf_10_small" / "trained_network.pt", "nsf", tmp_path / "config.json"
    )
    assert model.sample_rate == 24000


@pytest.mark.parametrize("key", ["m_filter.l_har_blocks.0.scale", "m_filter.l_fir_lp_v.weight"])
def test_other_constants_are_refused(tmp_path: Path, key: str) -> None:
    tensors = read_torch(PACKS / "hn_nsf_small" / "trained_network.pt")
    torch.save({**tensors, key: tensors[key] * 1.1}, tmp_path / "trained_network.pt")
    with pytest.raises(CheckpointError, match=rf"{key} differs from the published constant"):
        import_checkpoint(tmp_path / "trained_network.pt", "nsf")


def test_another_model_is_refused(tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match="has no"):
        import_checkpoint(tmp_path / "weights.pt", "nsf")
