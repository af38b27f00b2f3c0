"""Neural source-filter vocoders: official outputs, streams, sources, training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from kit.learning import learn
from kit.parity import relative_error
from kit.streams import graph_stream, stream
from safetensors.torch import load_file
from torch import Tensor

from audiotool.dsp.mel import mel_config
from audiotool.errors import CheckpointError, InputError
from audiotool.importers.base import import_checkpoint
from audiotool.losses.log_power_spectrum import LogPowerSpectrumLoss
from audiotool.models.nsf import NSF, Draws, NSFConfig
from audiotool.recipe.load import load as load_recipe

PACKS = Path(__file__).parents[1] / "data" / "parity" / "nsf"
VARIANTS = ["hn_sinc_nsf_9_small", "hn_sinc_nsf_10_small", "hn_nsf_small"]
MEL = {"sample_rate": 16000, "n_fft": 64, "hop_length": 8, "n_mels": 6}


def tiny(variant: Any, **values: Any) -> NSF:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "hidden_dim": 8,
        "blstm_dim": 8,
        "filter_blocks": 2,
        "convs_per_block": 4,
        "harmonics": 4,
    }
    config = NSFConfig(mel=MEL, variant=variant, backward_block=5, backward_lookahead=7, **(sizes | values))
    return NSF(config).eval()


def features(frames: int, batch: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(frames)
    x = torch.randn(batch, 7, frames, generator=generator)
    voiced = torch.rand(batch, frames, generator=generator) > 0.3
    x[:, -1] = (x[:, -1] * 20 + 200) * voiced
    return x


@pytest.mark.parametrize("pack", VARIANTS)
def test_official_output(pack: str) -> None:
    folder = PACKS / pack
    io = load_file(folder / "io.safetensors")
    model, _ = import_checkpoint(folder / "trained_network.pt", "nsf", folder / "config.json")
    draws = Draws(io["rng.0_rand"], io["rng.1_randn"].transpose(1, 2), io["rng.2_randn"].transpose(1, 2))
    with torch.no_grad():
        y = model(io["features_with_f0_last"], draws)
    assert relative_error(y, io["output"]) <= 1e-4


@pytest.mark.parametrize("pack", VARIANTS)
def test_official_loss(pack: str) -> None:
    io = load_file(PACKS / pack / "io.safetensors")
    loss = LogPowerSpectrumLoss()
    assert torch.allclose(loss.terms(io["output"], io["loss.target"]), io["loss.per_resolution"], rtol=1e-4)
    total = loss({"estimate": io["output"][:, None]}, {"target": io["loss.target"][:, None]})
    expected = next(io[key] for key in ("loss.total", "loss.total_cutoff_w0") if key in io)
    assert torch.isclose(total, expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("variant", "count"), [("hn-nsf", 724_265), ("hn-sinc-nsf-9", 724_265), ("hn-sinc-nsf-10", 722_793)]
)
def test_published_parameter_count(variant: Any, count: int) -> None:
    with torch.device("meta"):
        assert NSF(NSFConfig(variant=variant)).parameter_count == count


@pytest.mark.parametrize("variant", ["hn-sinc-nsf-9", "hn-sinc-nsf-10", "hn-nsf"])
@pytest.mark.parametrize("frames", [0, 1, 2, 5, 61])
def test_stream_equals_whole(variant: Any, frames: int) -> None:
    model, x = tiny(variant), features(frames, batch=2)
    with torch.inference_mode():
        whole = model.process(x, seed=3)
    assert whole.shape == (2, 1, frames * 8)
    for chunk in (1, 3, 7):
        streamed = stream(model, chunk, seed=3).process(x, 2)
        assert streamed.shape == whole.shape
        assert torch.allclose(streamed, whole, atol=1e-5 * float(whole.abs().max() if frames else 1))


@pytest.mark.parametrize("variant", ["hn-sinc-nsf-9", "hn-sinc-nsf-10", "hn-nsf"])
@pytest.mark.parametrize("frames", [1, 2, 4, 5, 13, 61])
def test_the_step_of_the_graph_is_the_stream(
    variant: Any, frames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Edges are masked where the stream pads them; several streams, whole hops."""
    model, x = tiny(variant), features(frames, batch=2)
    with torch.inference_mode():
        whole = model.process(x)
        monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
        found = graph_stream(model, x, [1, 3])
    assert torch.allclose(found, whole, atol=1e-5 * float(whole.abs().max()))


@pytest.mark.parametrize("variant", ["hn-sinc-nsf-9", "hn-sinc-nsf-10", "hn-nsf"])
def test_latency(variant: Any) -> None:
    model, x, first = tiny(variant), features(60), 45
    changed = x.clone()
    changed[..., first:] += 1
    with torch.inference_mode():
        same = (model.process(x) - model.process(changed)).abs()[0, 0] == 0
    assert same[: first * 8 - model.latency].all()
    assert not same.all()


def test_convolutional_latency_is_tight() -> None:
    model, x, first = tiny("hn-sinc-nsf-10"), features(60), 45
    changed = x.clone()
    changed[..., first:] += 1
    with torch.inference_mode():
        differs = (model.process(x) - model.process(changed)).abs()[0, 0] > 0
    assert int(differs.nonzero()[0]) < first * 8 - model.latency + 8


@pytest.mark.parametrize("variant", ["hn-sinc-nsf-9", "hn-sinc-nsf-10", "hn-nsf"])
def test_process_is_the_published_network_within_one_window(variant: Any) -> None:
    """Up to backward_block + backward_lookahead frames the recurrent condition sees all there is."""
    model, x = tiny(variant, harmonics=1, sine_amplitude=0.0, noise_std=0.0), features(12)
    with torch.inference_mode():
        assert torch.allclose(model.process(x)[:, 0], model(x.transpose(1, 2)), atol=1e-6)


def test_seed_decides_the_noise() -> None:
    model, x = tiny("hn-sinc-nsf-10"), features(20)
    with torch.inference_mode():
        assert torch.equal(model.process(x, seed=1), model.process(x, seed=1))
        assert not torch.equal(model.process(x, seed=1), model.process(x, seed=2))


def test_source_keeps_its_phase_for_minutes() -> None:
    """The sine of a constant F0 after five minutes, against its closed form."""
    model = tiny("hn-sinc-nsf-10", harmonics=1, noise_std=0.0)
    with torch.no_grad():
        model.source.mix.weight.fill_(1.0)
        model.source.mix.bias.zero_()
        phase, frames, f0 = None, 2000, 123.4
        for _ in range(300):
            draws = Draws(torch.zeros(1, 1), torch.zeros(1, 1, frames * 8), torch.zeros(1, 1, frames * 8))
            y, _, phase = model.source(torch.full((1, 1, frames), f0), draws, phase)
    t = torch.arange(299 * frames * 8 + 1, 300 * frames * 8 + 1, dtype=torch.float64)
    f0_stored = float(torch.tensor(f0))
    expected = torch.tanh(0.1 * torch.sin(2 * torch.pi * ((t * f0_stored / 16000) % 1)))
    assert (y[0, 0].double() - expected).abs().max() < 1e-5


def test_f0_is_tracked_in_the_target() -> None:
    model = NSF(NSFConfig(hidden_dim=8, filter_blocks=1, convs_per_block=2, variant="hn-sinc-nsf-10"))
    waveform = 0.5 * torch.sin(2 * torch.pi * 200 * torch.arange(8000) / 16000).reshape(1, 1, -1)
    waveform[..., 5000:] = 0
    mel = torch.zeros(1, 80, 100)
    f0 = model.append_f0(mel, waveform)[0, -1]
    assert f0.shape == (100,)
    assert (f0[5:55] - 200).abs().max() < 1
    assert (f0[70:] == 0).all()
    batch = {"input": mel, "target": waveform}
    torch.manual_seed(0)
    without = model.training_outputs(batch)["estimate"]
    torch.manual_seed(0)
    given = model.training_outputs({**batch, "input": model.append_f0(mel, waveform)})["estimate"]
    assert without.shape == waveform.shape
    assert torch.equal(without, given)


def test_input_without_f0_is_refused() -> None:
    with pytest.raises(InputError, match=r"nsf takes \(batch, 7, frames\), got \(1, 6, 9\)"):
        tiny("hn-nsf").process(torch.zeros(1, 6, 9))


def test_overfits_one_example() -> None:
    model = tiny("hn-sinc-nsf-10").train()
    loss = LogPowerSpectrumLoss((64,), (16,), (48,))
    target = 0.3 * torch.sin(torch.arange(320) * 0.3).reshape(1, 1, -1)
    batch = {"input": features(40), "target": target}
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    values = learn(model, batch, loss, optimiser, 60, seed=1)
    assert values[-1] < 0.7 * values[0]


def test_bad_configurations_are_refused() -> None:
    with pytest.raises(CheckpointError, match="variant: found 'b-nsf', should be 'hn-sinc-nsf-9'"):
        NSF.from_config({"variant": "b-nsf"})
    with pytest.raises(CheckpointError, match="sinc_order must be odd, got 30"):
        NSF.from_config({"sinc_order": 30})


def test_recipe() -> None:
    recipe = load_recipe("nsf")
    model = NSF.from_config(recipe.model.config)
    assert mel_config(recipe.audio.mel or "") == model.mel
    assert [term.name for term in recipe.loss] == ["log-power-spectrum"]


def test_loss_refuses_lists_of_different_lengths() -> None:
    with pytest.raises(ValueError, match="lists of the same length"):
        LogPowerSpectrumLoss((512,), (80, 40), (320,))
