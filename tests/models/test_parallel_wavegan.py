"""Parallel WaveGAN: official outputs, exact streams both ways, statistics, training."""

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

from audiotool.dsp.mel import PRESETS
from audiotool.errors import CheckpointError, InputError
from audiotool.importers.base import import_checkpoint
from audiotool.losses.multi_resolution_stft import MultiResolutionSTFTLoss
from audiotool.models.layers import noise
from audiotool.models.parallel_wavegan import ParallelWaveGAN

PACKS = Path(__file__).parents[1] / "data" / "parity" / "parallel_wavegan"
SPECTRAL = ["v1_small", "v3_causal_melgan_disc"]
VARIANTS = [*SPECTRAL, "activation_residual_disc"]
MEL = {"sample_rate": 8000, "n_fft": 64, "hop_length": 8, "n_mels": 6, "log": "log10", "floor": 1e-10}
SIZES = {
    "mel": MEL,
    "layers": 4,
    "stacks": 2,
    "residual_channels": 8,
    "gate_channels": 16,
    "skip_channels": 8,
    "upsample_scales": [4, 2],
}


def tiny(**values: object) -> ParallelWaveGAN:
    torch.manual_seed(0)
    return ParallelWaveGAN.from_config({**SIZES, **values}).eval()  # type: ignore[return-value]


def official(pack: str) -> tuple[ParallelWaveGAN, dict[str, Tensor]]:
    folder = PACKS / pack
    model, _ = import_checkpoint(
        folder / "checkpoint-400000steps.pkl", "parallel-wavegan", folder / "config.yml"
    )
    return model, load_file(folder / "io.safetensors")  # type: ignore[return-value]


@pytest.mark.parametrize("pack", VARIANTS)
def test_official_output(pack: str) -> None:
    model, io = official(pack)
    with torch.no_grad():
        y = model(io["noise"], io["mel_with_context"])
    assert relative_error(y, io["output"]) <= 1e-4


@pytest.mark.parametrize("pack", VARIANTS)
def test_official_inference(pack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, io = official(pack)
    monkeypatch.setattr(noise, "normal", lambda *_: io["inference.noise"].T[None])
    with torch.no_grad():
        y = model.process(io["inference.mel"].T[None])
    expected = io["inference.output"]
    assert relative_error(y[0].T, expected) <= 1e-4


@pytest.mark.parametrize("pack", SPECTRAL)
def test_official_spectral_loss(pack: str) -> None:
    io = load_file(PACKS / pack / "io.safetensors")
    found = MultiResolutionSTFTLoss().terms(io["output"], io["target"]).mean(0)
    assert torch.allclose(found, io["loss.mrstft_sc_mag"], rtol=1e-4)


@pytest.mark.parametrize(
    ("values", "count"),
    [
        ({}, 1_346_042),
        ({"weight_norm": False}, 1_334_309),
        ({"kernel_size": 5}, 1_837_562),
    ],
)
def test_parameters(values: dict[str, object], count: int) -> None:
    with torch.device("meta"):
        assert ParallelWaveGAN.from_config(values).parameter_count == count


def test_receptive_field() -> None:
    with torch.device("meta"):
        model = ParallelWaveGAN.from_config({})
    assert model.config.stack.receptive_field == 6139


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"use_causal_conv": True},
        {"use_causal_conv": True, "kernel_size": 2, "upsample_activation": "Sigmoid"},
        {"upsample_activation": "LeakyReLU", "upsample_activation_params": {"negative_slope": 0.4}},
    ],
)
@pytest.mark.parametrize("chunk", [1, 7, 20])
def test_streamed_equals_whole(values: dict[str, object], chunk: int) -> None:
    model, x = tiny(**values), features(61, batch=2)
    with torch.no_grad():
        whole = model.process(x, seed=5)
    streamed = stream(model, chunk, seed=5).process(x, [3, 0, 1, 30, 27])
    assert streamed.shape == (2, 1, 61 * 8)
    assert (streamed - whole).abs().max() <= 1e-5 * whole.abs().max()
    assert not torch.equal(model.process(x, seed=6), whole)


def test_context_is_as_large_as_it_must_be() -> None:
    model, x = tiny(), features(61)
    assert model.context is not None
    with torch.no_grad():
        y = model.process(x)
        for frame in (10, 30):
            changed = x.clone()
            changed[..., frame] += 1
            touched = (model.process(changed) - y).abs()[0, 0].nonzero().flatten()
            assert touched.min() >= (frame - model.context[1]) * 8
            assert touched.max() < (frame + model.context[0] + 1) * 8


def test_causal_network_does_not_look_ahead() -> None:
    model, x = tiny(use_causal_conv=True), features(20)
    changed = x.clone()
    changed[..., 12:] += 1
    with torch.no_grad():
        same = 12 * 8
        assert torch.equal(model.process(x)[..., :same], model.process(changed)[..., :same])
    assert model.latency == 0


def test_nothing_in_nothing_out() -> None:
    for model in (tiny(), tiny(use_causal_conv=True)):
        assert model.process(features(0)).shape == (1, 1, 0)


def test_statistics_normalise_the_input() -> None:
    model, x = tiny(), features(10)
    with torch.no_grad():
        plain = model.process(x)
        model.mean.fill_(2.0)
        model.scale.fill_(3.0)
        assert torch.allclose(model.process(3 * x + 2), plain, atol=1e-5)


@pytest.mark.parametrize("values", [{}, {"use_causal_conv": True}])
def test_one_step_of_training_helps(values: dict[str, object]) -> None:
    model = tiny(**values).train()
    loss = MultiResolutionSTFTLoss((64, 32), (16, 8), (64, 32))
    batch = {"input": features(40, batch=2), "target": 0.3 * torch.randn(2, 1, 320)}
    optimiser = torch.optim.Adam(model.parameters(), 5e-3)
    seen = learn(model, batch, loss, optimiser, 30, seed=1, has_idle_weights=True)
    assert seen[1] < seen[0]
    assert seen[-1] < 0.8 * seen[0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"upsample_scales": [4, 4]}, "do not multiply to the mel's hop, 8"),
        ({"layers": 5}, r"layers \(5\) must be a multiple of stacks \(2\)"),
        ({"kernel_size": 4}, "kernel_size 4 has no centre"),
        ({"freq_axis_kernel_size": 2}, "freq_axis_kernel_size 2 has no centre"),
        ({"upsample_activation": "Snake"}, "no activation is called 'Snake'"),
        (
            {"upsample_activation": "ReLU", "upsample_activation_params": {"slope": 1}},
            "activation ReLU is not made with",
        ),
    ],
)
def test_configurations_that_do_not_fit(values: dict[str, object], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        ParallelWaveGAN.from_config({**SIZES, **values})


def test_another_mel_is_refused() -> None:
    with torch.device("meta"):
        model = ParallelWaveGAN.from_config({})
    assert model.mel == PRESETS["parallel-wavegan-22k"]
    for causal in (False, True):
        with pytest.raises(InputError, match=r"6, frames\), got \(1, 100, 5\).*vocos-24k"):
            tiny(use_causal_conv=causal).process(torch.zeros(1, 100, 5))
