"""WaveGlow: official outputs both ways, invertibility, exact streams, denoiser, training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from kit.learning import learn
from kit.parity import relative_error
from kit.streams import stream
from kit.vocoders import features
from safetensors.torch import load_file
from torch import Tensor

from audiotool.errors import CheckpointError, InputError
from audiotool.importers.base import import_checkpoint
from audiotool.losses.flow import FlowLikelihoodLoss
from audiotool.models.waveglow import WaveGlow

PACKS = Path(__file__).parents[1] / "data" / "parity" / "waveglow"
SIZES = {
    "mel": {"sample_rate": 8000, "n_fft": 64, "hop_length": 16, "n_mels": 6},
    "n_flows": 4,
    "n_group": 4,
    "n_early_every": 2,
    "n_early_size": 2,
    "n_layers": 2,
    "n_channels": 8,
    "upsample_kernel": 64,
}


def tiny(**values: object) -> WaveGlow:
    torch.manual_seed(0)
    model = WaveGlow.from_config({**SIZES, **values}).eval()
    for network in model.WN:  # type: ignore[union-attr]
        # A fresh flow shifts and scales nothing.
        torch.nn.init.normal_(network.end.weight, 0.0, 0.05)
    return model  # type: ignore[return-value]


@pytest.fixture(scope="module", params=["small", "group6"])
def official(request: pytest.FixtureRequest) -> tuple[WaveGlow, dict[str, Tensor]]:
    pack = PACKS / request.param
    model, _ = import_checkpoint(pack / "waveglow_1_state_dict.pt", "waveglow", pack / "config.json")
    return model, load_file(pack / "io.safetensors")  # type: ignore[return-value]


def test_official_analysis(official: tuple[WaveGlow, dict[str, Tensor]]) -> None:
    model, io = official
    with torch.no_grad():
        z, log_scales, log_determinants = model(io["mel"], io["audio"])
    assert relative_error(z, io["z"]) <= 1e-4
    for k, (log_scale, log_determinant) in enumerate(zip(log_scales, log_determinants, strict=True)):
        expected = io[f"log_s.{k}"]
        assert relative_error(log_scale, expected) <= 1e-4
        assert torch.isclose(log_determinant, io[f"log_det_W.{k}"], rtol=1e-4, atol=1e-3)


def test_official_synthesis(official: tuple[WaveGlow, dict[str, Tensor]]) -> None:
    model, io = official
    draws = [io[key] for key in sorted(io) if key.startswith("infer.noise")]
    with torch.no_grad():
        y = model.inverse(io["mel"], torch.cat(draws, dim=1) * io["sigma"])
    expected = io["infer.audio_sigma0.8"]
    assert y.shape == expected.shape
    assert model.output_length(io["mel"].shape[-1]) == expected.shape[-1]
    assert relative_error(y, expected) <= 1e-4


@pytest.mark.parametrize("sigma", [1.0, 0.6])
def test_official_loss(official: tuple[WaveGlow, dict[str, Tensor]], sigma: float) -> None:
    model, io = official
    batch = {"input": io["mel"], "target": io["audio"][:, None]}
    loss = FlowLikelihoodLoss(sigma, constant=False)(model.training_outputs(batch), batch)
    assert torch.isclose(loss, io[f"loss.sigma{sigma}"], rtol=1e-4)


@pytest.mark.parametrize(
    ("values", "count"),
    [
        ({}, 87_879_272),
        ({"weight_norm": False}, 87_731_816),
        ({"n_channels": 512}, 268_294_760),
    ],
)
def test_parameters(values: dict[str, object], count: int) -> None:
    with torch.device("meta"):
        assert WaveGlow.from_config(values).parameter_count == count


def test_synthesis_undoes_analysis() -> None:
    model, x = tiny(), features(12, batch=2)
    waveform = 0.3 * torch.randn(2, 12 * 16)
    with torch.no_grad():
        z, _, _ = model(x, waveform)
        # Analysis gives early outputs first, synthesis takes them last, the latest first.
        early, late = z[:, :2], z[:, 2:]
        restored = model.inverse(x, torch.cat((late, early), dim=1))
    assert (restored - waveform).abs().max() <= 1e-4


def test_log_determinant_is_the_jacobians() -> None:
    model, x = tiny().double(), features(2).double()
    waveform = 0.3 * torch.randn(1, 32, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda w: model(x, w)[0].flatten(), waveform)
    outputs = model.training_outputs({"input": x, "target": waveform[:, None]})
    # Matrices start with determinant one in single precision; log-determinants are taken in it.
    expected = torch.linalg.slogdet(jacobian[:, 0]).logabsdet
    assert torch.isclose(outputs["log_determinant"], expected, atol=1e-4)


@pytest.mark.parametrize("strength", [0.0, 0.1])
@pytest.mark.parametrize("segment", [5, 16])
@pytest.mark.parametrize("n_group", [4, 6, 20])
def test_streamed_equals_whole(strength: float, segment: int, n_group: int) -> None:
    model, x = tiny(denoiser_strength=strength, n_group=n_group), features(61, batch=2)
    with torch.no_grad():
        whole = model.process(x, seed=5)
    streamed = stream(model, segment, seed=5).process(x, [3, 0, 1, 30, 27])
    assert streamed.shape == (2, 1, 61 * 16 // n_group * n_group)
    assert (streamed - whole).abs().max() <= 1e-5 * whole.abs().max()
    assert not torch.equal(model.process(x, seed=6), whole)


def test_denoiser_takes_away_the_models_bias() -> None:
    model = tiny()
    silence = torch.zeros(1, 6, 88)
    with torch.no_grad():
        torch.nn.init.constant_(model.WN[-1].end.bias, 0.05)  # type: ignore[arg-type, union-attr]
        bias = model.inverse(silence, torch.zeros(1, 4, 88 * 4))
        assert bias.abs().max() > 0.01
        middle = slice(320, -320)
        residue = model.denoise(bias, 1.0)[:, middle].square().sum() / bias[:, middle].square().sum()
        assert residue < 0.2
        assert torch.allclose(model.denoise(bias, 0.0), bias, atol=1e-5)
        short = bias[:, :20]
        assert model.denoise(short, 0.1).shape == short.shape


def test_nothing_in_nothing_out() -> None:
    assert tiny(denoiser_strength=0.1).process(features(0)).shape == (1, 1, 0)


def test_training_helps() -> None:
    model = tiny().train()
    batch = {"input": features(20, batch=2), "target": 0.1 * torch.randn(2, 1, 320)}
    loss = FlowLikelihoodLoss(constant=False)
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)
    seen = learn(model, batch, loss, optimiser, 20)
    assert seen[1] < seen[0]
    assert seen[-1] < seen[0] - 0.1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"upsample_kernel": 8}, "upsample_kernel 8 is below the mel's hop 16"),
        ({"n_group": 5}, "must be even"),
        ({"n_flows": 6}, "no channels are left"),
        ({"kernel_size": 4}, "no centre"),
    ],
)
def test_configurations_that_do_not_fit(values: dict[str, object], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        WaveGlow.from_config({**SIZES, **values})


def test_another_mel_is_refused() -> None:
    with pytest.raises(InputError, match=r"6, frames\), got \(1, 100, 5\).*vocos-24k"):
        tiny().process(torch.zeros(1, 100, 5))
