"""MambAttention: official outputs, losses and discriminator; training; overlap-add."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from kit.learning import learn
from kit.magnitude_phase import assert_official_losses, official_discriminator, with_official_spectra
from kit.parity import relative_error
from kit.streams import stream
from safetensors.torch import load_file
from torch import Tensor

from audiotool.errors import CheckpointError
from audiotool.importers.base import import_checkpoint
from audiotool.losses.magnitude_phase import (
    AntiWrappingPhaseLoss,
    CompressedComplexLoss,
    CompressedMagnitudeLoss,
)
from audiotool.models.base import measure_level
from audiotool.models.mambattention import MambAttention, MambAttentionConfig, TimeFrequencyBlock

PACK = Path(__file__).parent.parent / "data" / "parity" / "mambattention"
TINY = MambAttentionConfig(
    hid_feature=8, num_tfmamba=1, d_state=4, expand=2, n_fft=64, hop_length=16, win_length=64
)


@pytest.fixture(scope="module")
def pack() -> dict[str, Tensor]:
    return load_file(PACK / "io.safetensors")


@pytest.fixture(scope="module")
def official() -> MambAttention:
    model, _ = import_checkpoint(PACK / "g_00000001.pth", "mambattention", PACK / "config.yaml")
    assert isinstance(model, MambAttention)
    return model


@torch.no_grad()
def test_official_outputs(official: MambAttention, pack: dict[str, Tensor]) -> None:
    mag, _, spec = official(pack["stft.noisy_mag"], pack["stft.noisy_pha"])
    assert relative_error(mag, pack["out.mag"]) <= 1e-4
    # Near-silent bins: the official network's own single and double precision differ by 1.5e-4.
    assert relative_error(spec, pack["out.com"]) <= 1e-3
    assert relative_error(with_official_spectra(official, pack)["estimate"][:, 0], pack["out.wav"]) <= 1e-4


@torch.no_grad()
def test_official_mamba(official: MambAttention, pack: dict[str, Tensor]) -> None:
    block = official.TFMambAttention[0]
    assert isinstance(block, TimeFrequencyBlock)
    assert relative_error(block.time_mamba(pack["mamba.seq"]), pack["mamba.bidirectional_out"]) <= 1e-4
    mixer = block.time_mamba.forward_blocks[0].mixer
    assert relative_error(mixer(pack["mamba.seq"]), pack["mamba.mixer_forward_out"]) <= 1e-4  # type: ignore[operator]


def test_parameter_count() -> None:
    with torch.device("meta"):
        assert MambAttention(MambAttentionConfig()).parameter_count == 2_325_841


@torch.no_grad()
def test_losses(official: MambAttention, pack: dict[str, Tensor]) -> None:
    outputs = with_official_spectra(official, pack)
    discriminator = official_discriminator(PACK / "do_00000001.pth")
    target = outputs["target_magnitude"]
    assert relative_error(discriminator.score(target, target), pack["disc.real"]) <= 1e-4
    assert relative_error(discriminator.score(target, outputs["scored_magnitude"]), pack["disc.fake"]) <= 1e-4
    assert_official_losses(outputs, pack, AntiWrappingPhaseLoss(edges=True), discriminator)


def test_overfits() -> None:
    torch.manual_seed(0)
    model = MambAttention(TINY)
    batch = {"input": torch.randn(2, 1, 640), "target": 0.3 * torch.randn(2, 1, 640)}
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.8, 0.99))
    magnitude, phase = CompressedMagnitudeLoss(), AntiWrappingPhaseLoss(edges=True)
    spectrum = CompressedComplexLoss()

    def loss(outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
        return 0.9 * magnitude(outputs, batch) + 0.1 * spectrum(outputs, batch) + 0.3 * phase(outputs, batch)

    losses = learn(model, batch, loss, optimiser, 12)
    assert losses[1] < losses[0]
    assert losses[-1] < 0.9 * losses[0]


def test_step_sizes_begin_in_the_published_range() -> None:
    torch.manual_seed(0)
    mixer = MambAttention(TINY).TFMambAttention[0].time_mamba.forward_blocks[0].mixer  # type: ignore[union-attr,index]
    step = torch.nn.functional.softplus(mixer.dt_proj.bias).detach()
    assert 0.0009 < float(step.min()) < float(step.max()) < 0.101


@torch.no_grad()
def test_one_segment_of_overlap_add_equals_whole() -> None:
    torch.manual_seed(0)
    model = MambAttention(TINY).eval()
    x = torch.randn(2, 1, 1000)
    streamed = stream(model, chunk=1600, level=measure_level(x)).process(x, 170)
    torch.testing.assert_close(streamed, model.process(x))


def test_bad_configurations_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="heads do not divide"):
        MambAttention.from_config({"hid_feature": 20})
    with pytest.raises(CheckpointError, match="multiple of 4"):
        MambAttention.from_config({"n_fft": 402})
    values = yaml.safe_load((PACK / "config.yaml").read_text())
    values["model_cfg"]["input_channel"] = 3
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(CheckpointError, match="input_channel=3 is not supported, only 2"):
        import_checkpoint(PACK / "g_00000001.pth", "mambattention", path)


def test_a_checkpoint_of_another_model_is_named() -> None:
    other = PACK.parent / "mp_senet" / "g_00000001"
    with pytest.raises(CheckpointError, match=r"missing.*unexpected.*looks like mp-senet"):
        import_checkpoint(other, "mambattention", PACK / "config.yaml")
