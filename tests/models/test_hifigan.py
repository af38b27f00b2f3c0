"""HiFi-GAN equals the official generator, from the official files, whole and streamed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from kit.learning import learn, mse
from kit.parity import relative_error
from kit.streams import stream
from safetensors.torch import load_file

from audiotool.errors import CheckpointError, InputError
from audiotool.importers.base import import_checkpoint, recognise
from audiotool.models.base import Model
from audiotool.models.hifigan import HiFiGAN, HiFiGANConfig
from audiotool.models.layers.weight_norm import fold

PACKS = Path(__file__).parents[1] / "data" / "parity" / "hifigan"
V2 = {"upsample_initial_channel": 128}
V3 = {
    "upsample_initial_channel": 256,
    "upsample_rates": [8, 8, 4],
    "upsample_kernel_sizes": [16, 16, 8],
    "resblock": "2",
    "resblock_kernel_sizes": [3, 5, 7],
    "resblock_dilation_sizes": [[1, 2], [2, 6], [3, 12]],
}
TINY = HiFiGANConfig(
    mel={"sample_rate": 8000, "n_fft": 64, "hop_length": 8, "n_mels": 6},
    upsample_rates=(4, 2),
    upsample_kernel_sizes=(8, 4),
    upsample_initial_channel=8,
    resblock_kernel_sizes=(3, 5),
    resblock_dilation_sizes=((1, 3), (1, 3)),
)


def official(variant: str) -> Model:
    return import_checkpoint(PACKS / variant / "g_00000001", "hifigan", PACKS / variant / "config.json")[0]


@pytest.mark.parametrize("variant", ["v1_small", "v3_small"])
def test_parity(variant: str) -> None:
    tensors = load_file(PACKS / variant / "io.safetensors")
    with torch.no_grad():
        found = official(variant)(tensors["mel"])
    assert relative_error(found, tensors["generated"]) <= 1e-4


def test_weights_without_weight_norm_are_read_too(tmp_path: Path) -> None:
    tensors = official("v1_small").state_dict()
    torch.save(dict(tensors), tmp_path / "generator_v1")
    model, _ = import_checkpoint(tmp_path / "generator_v1", "hifigan", PACKS / "v1_small" / "config.json")
    assert all(torch.equal(value, tensors[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("values", "normalised", "folded"),
    [({}, 13_936_130, 13_926_017), (V2, 928_514, 925_985), (V3, 1_464_322, 1_462_273)],
)
def test_published_sizes(values: dict[str, object], normalised: int, folded: int) -> None:
    with torch.device("meta"):
        assert HiFiGAN.from_config(values).parameter_count == normalised
        assert HiFiGAN.from_config({**values, "weight_norm": False}).parameter_count == folded


def test_importer_reads_the_mel_definition(tmp_path: Path) -> None:
    values = json.loads((PACKS / "v1_small" / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**values, "fmax": 7600}))
    model, metadata = import_checkpoint(
        PACKS / "v1_small" / "g_00000001", "hifigan", tmp_path / "config.json"
    )
    assert official("v1_small").config.mel == "hifigan-22k"
    assert (model.mel.fmax, model.mel.padding, model.mel.power_offset) == (7600, "same", 1e-9)  # type: ignore[comparison-overlap, union-attr]
    assert (metadata.task, metadata.sample_rate) == ("vocode", 22050)


def test_a_configuration_that_does_not_multiply_to_the_hop(tmp_path: Path) -> None:
    values = json.loads((PACKS / "v1_small" / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**values, "hop_size": 300}))
    with pytest.raises(CheckpointError, match="give 256 samples a frame, the mel has hop_length 300"):
        import_checkpoint(PACKS / "v1_small" / "g_00000001", "hifigan", tmp_path / "config.json")


def test_importer_needs_the_configuration() -> None:
    with pytest.raises(CheckpointError, match=r"--config config\.json"):
        import_checkpoint(PACKS / "v1_small" / "g_00000001", "hifigan")


def test_files_are_recognised() -> None:
    official_file = torch.load(PACKS / "v1_small" / "g_00000001", weights_only=True)
    assert recognise(official_file)[0] == "hifigan"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"resblock": "3"}, "resblock: found '3', should be '1' or '2'"),
        ({"upsample_rates": [8, 8, 4]}, "one entry a level"),
        ({"resblock_kernel_sizes": [3]}, "one entry a block"),
        ({"mel": "hifigan-24k"}, "no mel preset is called 'hifigan-24k'"),
    ],
)
def test_bad_configurations_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        HiFiGAN.from_config(values)


def tiny(**changes: object) -> HiFiGAN:
    torch.manual_seed(0)
    return HiFiGAN(HiFiGANConfig(**{**TINY.__dict__, **changes})).double().eval()


@pytest.mark.parametrize("block_kind", ["1", "2"])
@pytest.mark.parametrize(("segment", "block"), [(1, 1), (7, 3), (30, 100)])
def test_streamed_equals_whole(block_kind: str, segment: int, block: int) -> None:
    model, mel = tiny(resblock=block_kind), torch.randn(2, 6, 90, dtype=torch.double)
    with torch.no_grad():
        whole = model(mel)
    assert whole.shape == (2, 1, 720)
    torch.testing.assert_close(stream(model, segment).process(mel, block), whole, rtol=0, atol=1e-9)


def test_kernels_of_odd_difference_keep_the_official_length() -> None:
    model = tiny(upsample_kernel_sizes=(7, 5))
    mel = torch.randn(1, 6, 40, dtype=torch.double)
    with torch.no_grad():
        official_output, processed = model(mel), model.process(mel)
    assert official_output.shape[-1] > 320
    assert processed.shape[-1] == 320
    torch.testing.assert_close(stream(model, 5).process(mel, 4), processed, rtol=0, atol=1e-9)


def test_context_and_latency_are_tight() -> None:
    model, mel = tiny(), torch.randn(1, 6, 80, dtype=torch.double, requires_grad=True)
    assert model.context is not None
    before, after = model.context
    y = model(mel)[0, 0]
    frame, hop = 40, model.upsampling
    (grad,) = torch.autograd.grad(y[frame * hop : (frame + 1) * hop].sum(), mel, retain_graph=True)
    reached = grad.abs().sum((0, 1)).nonzero().flatten()
    assert (int(reached[0]), int(reached[-1])) == (frame - before, frame + after)
    lags = []
    for sample in range(frame * hop, (frame + 1) * hop):
        (grad,) = torch.autograd.grad(y[sample], mel, retain_graph=True)
        lags.append(int(grad.abs().sum((0, 1)).nonzero()[-1]) * hop - sample)
    assert max(lags) == model.latency


def test_inputs_of_no_frames_and_of_another_shape() -> None:
    model = tiny()
    assert model.process(torch.zeros(2, 6, 0, dtype=torch.double)).shape == (2, 1, 0)
    with pytest.raises(InputError, match=r"takes \(batch, 6, frames\), got \(1, 7, 9\)"):
        model.process(torch.zeros(1, 7, 9))
    streamer = stream(model)
    assert streamer.flush().shape == (1, 1, 0)


def test_folding_keeps_the_output() -> None:
    model, mel = tiny(), torch.randn(1, 6, 20, dtype=torch.double)
    with torch.no_grad():
        expected = model(mel)
        torch.testing.assert_close(fold(model)(mel), expected)


@pytest.mark.parametrize("block_kind", ["1", "2"])
def test_one_step_lowers_the_loss(block_kind: str) -> None:
    model = tiny(resblock=block_kind).float().train()
    batch = {"input": torch.randn(2, 6, 16), "target": 0.3 * torch.randn(2, 1, 128)}
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-3)
    losses = learn(model, batch, mse, optimiser, 2)
    assert losses[1] < losses[0]
