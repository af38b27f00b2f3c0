"""MP-SENet: official outputs, losses and discriminator; the axes of its attention; training; overlap-add."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from kit.learning import learn
from kit.magnitude_phase import assert_official_losses, official_discriminator, with_official_spectra
from kit.parity import relative_error
from kit.streams import stream
from safetensors.torch import load_file
from torch import Tensor

from audiotool.dsp.magnitude_phase import as_complex
from audiotool.errors import CheckpointError
from audiotool.importers.base import import_checkpoint
from audiotool.losses.magnitude_phase import (
    AntiWrappingPhaseLoss,
    CompressedComplexLoss,
    CompressedMagnitudeLoss,
    ConsistencyLoss,
    anti_wrapping,
)
from audiotool.losses.metric import metric_discriminator_loss, pesq_as_score
from audiotool.models.base import measure_level
from audiotool.models.discriminators.metric import MetricDiscriminator
from audiotool.models.mp_senet import MPSENet, MPSENetConfig

PACK = Path(__file__).parent.parent / "data" / "parity" / "mp_senet"
TINY = MPSENetConfig(dense_channel=8, n_blocks=1, n_fft=64, hop_length=16, win_length=64)


@pytest.fixture(scope="module")
def pack() -> dict[str, Tensor]:
    return load_file(PACK / "io.safetensors")


@pytest.fixture(scope="module")
def official() -> MPSENet:
    model, _ = import_checkpoint(PACK / "g_00000001", "mp-senet", PACK / "config.json")
    assert isinstance(model, MPSENet)
    return model


@pytest.fixture(scope="module")
def discriminator() -> MetricDiscriminator:
    return official_discriminator(PACK / "do_00000001")


@pytest.fixture(scope="module")
def outputs(official: MPSENet, pack: dict[str, Tensor]) -> dict[str, Tensor]:
    return with_official_spectra(official, pack)


@torch.no_grad()
def test_official_outputs(official: MPSENet, pack: dict[str, Tensor]) -> None:
    mag, phase, spec = official(pack["stft.noisy_mag"], pack["stft.noisy_pha"])
    assert relative_error(mag, pack["out.mag"]) <= 1e-4
    # Near-silent bins: the official network's own single and double precision differ by 1.1e-4.
    assert relative_error(spec, pack["out.com"]) <= 1e-3
    assert torch.equal(spec, as_complex(mag, phase))


def test_official_waveform(outputs: dict[str, Tensor], pack: dict[str, Tensor]) -> None:
    assert relative_error(outputs["levelled_estimate"][:, 0], pack["out.wav_normalised"]) <= 1e-4
    assert relative_error(outputs["estimate"][:, 0], pack["out.wav"]) <= 1e-4


@torch.no_grad()
def test_official_front_end(official: MPSENet, pack: dict[str, Tensor]) -> None:
    mag, phase = official.transform.analyse(pack["wav.noisy"] * pack["norm_factor"])
    assert relative_error(mag, pack["stft.noisy_mag"]) <= 1e-4
    official_spec = as_complex(pack["stft.noisy_mag"], pack["stft.noisy_pha"])
    assert relative_error(as_complex(mag, phase), official_spec) <= 1e-4


@torch.no_grad()
def test_items_of_a_batch_are_processed_as_if_alone(official: MPSENet, pack: dict[str, Tensor]) -> None:
    mag, _, _ = official(pack["stft.noisy_mag"][:1], pack["stft.noisy_pha"][:1])
    assert relative_error(mag, pack["out.mag_first_item_alone"]) <= 1e-4
    assert relative_error(mag, pack["out.mag"][:1]) > 0.01
    noisy = pack["wav.noisy"][:, None]
    torch.testing.assert_close(official.process(noisy)[1:], official.process(noisy[1:]))


@torch.no_grad()
def test_intended_axes_uncouple_the_batch() -> None:
    torch.manual_seed(0)
    config = MPSENetConfig(**{**TINY.__dict__, "sequence_axis": "intended"})
    model = MPSENet(config).eval()
    mag, phase = model.transform.analyse(torch.randn(2, 640))
    torch.testing.assert_close(model(mag, phase)[0][:1], model(mag[:1], phase[:1])[0], rtol=1e-4, atol=1e-5)
    published = MPSENet(TINY).eval()
    published.load_state_dict(model.state_dict())
    assert not torch.allclose(published(mag, phase)[0], model(mag, phase)[0], rtol=1e-3)


def test_parameter_count() -> None:
    with torch.device("meta"):
        assert MPSENet(MPSENetConfig()).parameter_count == 2_263_372


def test_losses(
    official: MPSENet, pack: dict[str, Tensor], outputs: dict[str, Tensor], discriminator: MetricDiscriminator
) -> None:
    assert_official_losses(outputs, pack, AntiWrappingPhaseLoss(), discriminator)


def test_anti_wrapping(pack: dict[str, Tensor]) -> None:
    torch.testing.assert_close(anti_wrapping(pack["antiwrap.x"]), pack["antiwrap.y"], rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_discriminator(
    pack: dict[str, Tensor], outputs: dict[str, Tensor], discriminator: MetricDiscriminator
) -> None:
    target = outputs["target_magnitude"]
    assert relative_error(discriminator.score(target, target), pack["disc.real"]) <= 1e-4
    assert relative_error(discriminator.score(target, outputs["scored_magnitude"]), pack["disc.fake"]) <= 1e-4
    assert sum(p.numel() for p in discriminator.parameters()) == 181_650
    estimate, clean = outputs["levelled_estimate"], outputs["levelled_target"]
    ((score, features),) = discriminator(estimate, reference=clean)
    assert relative_error(score, pack["disc.fake"]) <= 1e-4
    assert len(features) == 5
    with pytest.raises(ValueError, match="reference"):
        discriminator(estimate)


def test_discriminator_targets(
    pack: dict[str, Tensor], outputs: dict[str, Tensor], discriminator: MetricDiscriminator
) -> None:
    torch.testing.assert_close(
        pesq_as_score(torch.tensor([1.0, 2.5, 4.5])), pack["metric_scale_pesq_to_unit"]
    )
    real = (pack["disc.real"] - 1).square().mean()
    fake = (pack["disc.fake"][:, 0] - torch.tensor([1.5, 0.5]) / 3.5).square().mean()
    both = metric_discriminator_loss(discriminator, outputs, [2.5, 1.5])
    torch.testing.assert_close(both, real + fake, rtol=1e-4, atol=0)
    failed = metric_discriminator_loss(discriminator, outputs, [2.5, None])
    torch.testing.assert_close(failed, real, rtol=1e-4, atol=0)


def test_overfits() -> None:
    torch.manual_seed(0)
    model = MPSENet(TINY)
    batch = {"input": torch.randn(1, 1, 640), "target": 0.3 * torch.randn(1, 1, 640)}
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.8, 0.99))
    magnitude, phase = CompressedMagnitudeLoss(), AntiWrappingPhaseLoss()
    spectrum, consistency = CompressedComplexLoss(), ConsistencyLoss()

    def loss(outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
        terms = 0.9 * magnitude(outputs, batch) + 0.3 * phase(outputs, batch)
        return terms + 0.1 * spectrum(outputs, batch) + 0.1 * consistency(outputs, batch)

    losses = learn(model, batch, loss, optimiser, 12)
    assert losses[1] < losses[0]
    assert losses[-1] < 0.9 * losses[0]


@torch.no_grad()
def test_level_of_the_file_is_used() -> None:
    torch.manual_seed(0)
    model = MPSENet(TINY).eval()
    x = torch.randn(1, 1, 640)
    level = measure_level(x)
    torch.testing.assert_close(model.process(x, level=level), model.process(x))
    quiet = model.process(x[..., :320] / 1024, level=measure_level(x / 1024))
    torch.testing.assert_close(quiet * 1024, model.process(x[..., :320], level=level))


@pytest.mark.parametrize("length", [0, 1, 33, 640, 650])
@torch.no_grad()
def test_any_length_and_silence(length: int) -> None:
    y = MPSENet(TINY).eval().process(torch.zeros(1, 1, length))
    assert y.shape == (1, 1, length)
    assert (y.abs() < 1e-6).all()


@torch.no_grad()
def test_one_segment_of_overlap_add_equals_whole() -> None:
    torch.manual_seed(0)
    model = MPSENet(TINY).eval()
    x = torch.randn(1, 1, 1000)
    streamed = stream(model, chunk=1600, level=measure_level(x)).process(x, 170)
    torch.testing.assert_close(streamed, model.process(x))


def test_bad_configurations_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="multiple of 4"):
        MPSENet.from_config({"n_fft": 402})
    with pytest.raises(CheckpointError, match="heads do not divide"):
        MPSENet.from_config({"n_heads": 5})
    with pytest.raises(CheckpointError, match="--config"):
        import_checkpoint(PACK / "g_00000001", "mp-senet")
    with pytest.raises(CheckpointError, match=r"no 'generator'"):
        import_checkpoint(PACK / "do_00000001", "mp-senet", PACK / "config.json")


def test_losses_end_with_the_last_whole_hop() -> None:
    torch.manual_seed(0)
    model = MPSENet(TINY).eval()
    hop = TINY.hop_length
    batch = {"input": 0.1 * torch.randn(1, 1, 10 * hop + 7), "target": 0.1 * torch.randn(1, 1, 10 * hop + 7)}
    with torch.no_grad():
        outputs = model.training_outputs(batch)
        synthesised = model.transform.synthesise(outputs["magnitude"], outputs["phase"], 10 * hop)
        reanalysed = as_complex(*model.reanalysis.analyse(synthesised))
    assert outputs["estimate"].shape == batch["target"].shape
    assert outputs["levelled_estimate"].shape == outputs["levelled_target"].shape == (1, 1, 10 * hop)
    torch.testing.assert_close(outputs["levelled_estimate"][:, 0], synthesised)
    torch.testing.assert_close(outputs["reanalysis"], reanalysed)
