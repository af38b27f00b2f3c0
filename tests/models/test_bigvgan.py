"""BigVGAN equals the official generator, from the official files, whole and streamed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from kit.learning import learn, mse
from kit.parity import relative_error
from kit.streams import stream
from safetensors.torch import load_file

from audiotool.errors import CheckpointError
from audiotool.importers.base import import_checkpoint, recognise
from audiotool.models.base import Model
from audiotool.models.bigvgan import BigVGAN, BigVGANConfig

PACKS = Path(__file__).parents[1] / "data" / "parity" / "bigvgan"
BASE = {
    "upsample_rates": [8, 8, 2, 2],
    "upsample_kernel_sizes": [16, 16, 4, 4],
    "upsample_initial_channel": 512,
    "use_tanh_at_final": True,
    "use_bias_at_final": True,
}
FIRST = {"use_tanh_at_final": True, "use_bias_at_final": True}
V2_44K = {
    "mel": "bigvgan-v2-44k-128",
    "upsample_rates": [8, 4, 2, 2, 2, 2],
    "upsample_kernel_sizes": [16, 8, 4, 4, 4, 4],
}
TINY = BigVGANConfig(
    mel={"sample_rate": 8000, "n_fft": 64, "hop_length": 8, "n_mels": 6},
    upsample_rates=(4, 2),
    upsample_kernel_sizes=(8, 4),
    upsample_initial_channel=8,
    resblock_kernel_sizes=(3, 5),
    resblock_dilation_sizes=((1, 3), (1, 3)),
)


def official(variant: str) -> Model:
    pack = PACKS / variant
    return import_checkpoint(pack / "bigvgan_generator.pt", "bigvgan", pack / "config.json")[0]


@pytest.mark.parametrize("variant", ["v2_small", "base_v1_small"])
def test_parity(variant: str) -> None:
    tensors = load_file(PACKS / variant / "io.safetensors")
    with torch.no_grad():
        found = official(variant)(tensors["mel"])
    assert relative_error(found, tensors["generated"]) <= 1e-4


def test_importer_reads_the_version_and_the_mel() -> None:
    first, second = official("base_v1_small"), official("v2_small")
    assert (first.config.use_tanh_at_final, first.config.use_bias_at_final) == (True, True)
    assert (second.config.use_tanh_at_final, second.config.use_bias_at_final) == (False, False)
    assert (first.config.mel, second.config.mel) == ("hifigan-22k", "bigvgan-24k-100")


def test_another_filter_is_refused(tmp_path: Path) -> None:
    pack, name = PACKS / "v2_small", "activation_post.downsample.lowpass.filter"
    contents = torch.load(pack / "bigvgan_generator.pt", weights_only=True)
    for half in (torch.float16, torch.bfloat16):
        rounded = {key: value.to(half) for key, value in contents["generator"].items()}
        torch.save({"generator": rounded}, tmp_path / "half.pt")
        import_checkpoint(tmp_path / "half.pt", "bigvgan", pack / "config.json")
    contents["generator"][name] = contents["generator"][name].roll(1)
    torch.save(contents, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=f"{name} differs from the published filter"):
        import_checkpoint(tmp_path / "other.pt", "bigvgan", pack / "config.json")


def test_files_are_distinguished_from_hifigan() -> None:
    official_file = torch.load(PACKS / "v2_small" / "bigvgan_generator.pt", weights_only=True)
    assert recognise(official_file)[0] == "bigvgan"
    with pytest.raises(CheckpointError, match="looks like bigvgan"):
        import_checkpoint(
            PACKS / "v2_small" / "bigvgan_generator.pt", "hifigan", PACKS / "v2_small" / "config.json"
        )


@pytest.mark.parametrize(
    ("values", "count"),
    [
        ({**BASE, "mel": "bigvgan-22k-80"}, 13_953_474),
        ({**BASE, "mel": "bigvgan-24k-100"}, 14_025_154),
        ({**FIRST, "mel": "bigvgan-22k-80"}, 112_231_250),
        ({**FIRST, "mel": "bigvgan-24k-100"}, 112_446_290),
        ({}, 112_446_289),
        (V2_44K, 122_184_529),
    ],
)
def test_published_sizes(values: dict[str, object], count: int) -> None:
    with torch.device("meta"):
        assert BigVGAN.from_config(values).parameter_count == count


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"resblock": "3"}, "resblock: found '3', should be '1' or '2'"),
        ({"activation": "relu"}, "activation: found 'relu', should be 'snake' or 'snakebeta'"),
        ({"upsample_rates": [8, 8, 4]}, "one entry a level"),
        ({"resblock_kernel_sizes": [3]}, "one entry a block"),
        ({"mel": "bigvgan-v2-44k-128"}, "give 256 samples a frame, the mel has hop_length 512"),
    ],
)
def test_bad_configurations_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        BigVGAN.from_config(values)


def tiny(**changes: object) -> BigVGAN:
    torch.manual_seed(0)
    return BigVGAN(BigVGANConfig(**{**TINY.__dict__, **changes})).double().eval()


@pytest.mark.parametrize("block_kind", ["1", "2"])
@pytest.mark.parametrize(("segment", "block"), [(1, 1), (7, 3), (30, 100)])
def test_streamed_equals_whole(block_kind: str, segment: int, block: int) -> None:
    model, mel = tiny(resblock=block_kind), torch.randn(2, 6, 90, dtype=torch.double)
    with torch.no_grad():
        whole = model(mel)
    assert whole.shape == (2, 1, 720)
    torch.testing.assert_close(stream(model, segment).process(mel, block), whole, rtol=0, atol=1e-9)


def test_context_holds_all_that_is_reached() -> None:
    model, mel = tiny(), torch.randn(1, 6, 80, dtype=torch.double, requires_grad=True)
    assert model.context is not None
    before, after = model.context
    frame, hop = 40, model.upsampling
    (grad,) = torch.autograd.grad(model(mel)[0, 0, frame * hop : (frame + 1) * hop].sum(), mel)
    reached = grad.abs().sum((0, 1)).nonzero().flatten()
    assert (int(reached[0]), int(reached[-1])) == (frame - before, frame + after)
    assert (after - 1) * hop < model.latency <= after * hop


@pytest.mark.parametrize("activation", ["snake", "snakebeta"])
@pytest.mark.parametrize("tanh", [False, True])
def test_one_step_lowers_the_loss(activation: str, tanh: bool) -> None:
    model = tiny(activation=activation, use_tanh_at_final=tanh, snake_logscale=tanh).float().train()
    batch = {"input": torch.randn(2, 6, 16), "target": 0.3 * torch.randn(2, 1, 128)}
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-3)
    losses = learn(model, batch, mse, optimiser, 2)
    assert losses[1] < losses[0]
