"""PeriodWave: official fields, samples and losses; prior, solvers, streams, training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from kit.learning import learn, mse
from kit.parity import relative_error
from kit.streams import stream
from safetensors.torch import load_file
from torch import Tensor

from audiotool.dsp.mel import mel_config
from audiotool.dsp.mel_spectrogram import MelSpectrogram
from audiotool.errors import CheckpointError, InputError
from audiotool.importers.base import import_checkpoint
from audiotool.losses.flow_matching import FlowMatchingLoss
from audiotool.losses.mel import MultiScaleMelLoss
from audiotool.models.periodwave import (
    PeriodWave,
    PeriodWaveConfig,
    PeriodWaveTurbo,
    PeriodWaveTurboConfig,
    euler,
    midpoint,
    time_grid,
)
from audiotool.models.registry import MODELS
from audiotool.recipe.load import load as load_recipe

PACKS = Path(__file__).parents[1] / "data" / "parity" / "periodwave"
TINY: dict[str, Any] = {
    "mel": {"sample_rate": 8000, "n_fft": 128, "hop_length": 64, "n_mels": 5},
    "periods": (1, 2),
    "hidden_dim": 32,
    "embedding_dim": 16,
    "steps": 2,
}


def official(pack: str, **overrides: Any) -> tuple[PeriodWave, dict[str, Tensor]]:
    folder = PACKS / pack
    model, _ = import_checkpoint(folder / "G_10000.pth", "periodwave", folder / "config.json", overrides)
    return model, load_file(folder / "io.safetensors")  # type: ignore[return-value]


def tiny(**values: Any) -> PeriodWave:
    torch.manual_seed(0)
    return PeriodWave(PeriodWaveConfig(**{**TINY, **values})).eval()


@pytest.mark.parametrize("pack", ["base_small", "large_small", "encodec_small"])
def test_official_field(pack: str) -> None:
    model, io = official(pack)
    with torch.no_grad():
        if "features" in io:
            condition = model.encode(io["features"], model.prior_std(io["features"]))
        else:
            condition = model.condition(io["vf.mel_and_std"])
        field = model.field(io["vf.x"], condition, io["vf.t"])
    assert relative_error(field, io["vf.out"]) <= 1e-4


@pytest.mark.parametrize(
    ("pack", "sample", "arguments", "overrides"),
    [
        ("base_small", "euler4_temp1.0", (4, "euler", 1.0), {}),
        ("base_small", "midpoint3_temp0.667", (3, "midpoint", 0.667), {}),
        (
            "base_small",
            "freeu_s0.9_b1.1_midpoint3_temp0.667",
            (3, "midpoint", 0.667),
            {"freeu_skip": 0.9, "freeu_backbone": 1.1},
        ),
        ("large_small", "euler4_temp1.0", (4, "euler", 1.0), {}),
        ("encodec_small", "euler4", (4, "euler", 1.0), {}),
        ("encodec_small", "midpoint3", (3, "midpoint", 1.0), {}),
        ("encodec_small", "euler4_sway-1", (4, "euler", 1.0), {"sway": -1.0}),
    ],
)
def test_official_samples(
    pack: str, sample: str, arguments: tuple[Any, ...], overrides: dict[str, float]
) -> None:
    model, io = official(pack, **overrides)
    with torch.no_grad():
        y = model(io["features"] if "features" in io else io["mel"], io["noise"], *arguments)
    assert relative_error(y, io[f"sample.{sample}"]) <= 1e-4


def test_official_prior_and_mel() -> None:
    model, io = official("base_small")
    assert relative_error(model.prior_std(io["mel"]).repeat_interleave(256, -1), io["target_std"]) <= 1e-4
    assert relative_error(MelSpectrogram(model.mel)(io["wav"]), io["mel"]) <= 1e-4


def test_official_flow_matching_loss() -> None:
    model, io = official("base_small")
    mask = (torch.arange(io["wav"].shape[-1]) < io["fm.length"]).float()[:, None]
    with torch.no_grad():
        outputs = model.path(io["mel"], io["wav"][:, None], io["fm.noise"], io["fm.t"].flatten(), mask)
    assert torch.isclose(FlowMatchingLoss()(outputs, {}), io["fm.loss"], rtol=1e-4)


def test_official_turbo_loss() -> None:
    """Two Euler steps, then the mel loss over the samples that count."""
    model, io = official("base_small")
    mask = (torch.arange(io["wav"].shape[-1]) < io["fm.length"]).float()[:, None]
    with torch.no_grad():
        estimate = model(io["mel"], io["noise"], 2, "euler", 1.0)
        loss = MultiScaleMelLoss(24000)({"estimate": estimate * mask}, {"target": io["wav"][:, None] * mask})
    assert relative_error(estimate, io["turbo.pred"]) <= 1e-4
    assert torch.isclose(loss, io["turbo.msmel_loss"], rtol=1e-4)


@pytest.mark.parametrize("name", ["periodwave", "periodwave-turbo"])
def test_recipe(name: str) -> None:
    recipe = load_recipe(name)
    with torch.device("meta"):
        model = MODELS.get(recipe.model.name).from_config(recipe.model.config)
    assert model.parameter_count == 29_805_025
    assert recipe.audio.sample_rate == model.sample_rate
    assert mel_config(recipe.audio.mel or "") == model.mel


@pytest.mark.parametrize(
    ("values", "count"),
    [
        ({}, 29_805_025),
        ({"weight_norm": False}, 29_795_456),
        ({"mel": "hifigan-22k"}, 29_733_345),
        ({"hidden_dim": 768, "embedding_dim": 384, "dilations": (1, 2, 1, 4)}, 70_249_873),
        (
            {
                "features": "encodec",
                "embedding_dim": 512,
                "mel": {"sample_rate": 24000, "n_fft": 1280, "hop_length": 320, "n_mels": 100},
            },
            31_344_865,
        ),
    ],
)
def test_published_parameter_counts(values: dict[str, Any], count: int) -> None:
    with torch.device("meta"):
        assert PeriodWave(PeriodWaveConfig(**values)).parameter_count == count


def test_solvers_have_their_orders() -> None:
    """dx/dt = x from 1: the error at e falls with the step, or with its square."""
    errors = {}
    for solver in (euler, midpoint):
        for steps in (8, 16):
            x = torch.ones(1, dtype=torch.float64)
            for t in torch.arange(steps, dtype=torch.float64) / steps:
                x = solver(lambda y, at: y, x, t, torch.tensor(1 / steps))
            errors[solver, steps] = abs(float(x) - torch.e)
    assert 1.7 < errors[euler, 8] / errors[euler, 16] < 2.2
    assert 3.5 < errors[midpoint, 8] / errors[midpoint, 16] < 4.3


def test_time_grid() -> None:
    assert torch.allclose(time_grid(4), torch.tensor([0, 0.25, 0.5, 0.75, 1]))
    bent = time_grid(4, -1.0)
    assert bent[0] == 0
    assert torch.isclose(bent[-1], torch.tensor(1.0))
    assert bent[1] < 0.25


@pytest.mark.parametrize("steps", [2, 4, 16])
def test_a_seed_decides_the_sample(steps: int) -> None:
    model, mel = tiny(), torch.randn(1, 5, 6)
    with torch.inference_mode():
        y = model.process(mel, seed=1, steps=steps)
        assert y.shape == (1, 1, 6 * 64)
        assert torch.equal(y, model.process(mel, seed=1, steps=steps))
        assert not torch.equal(y, model.process(mel, seed=2, steps=steps))
        assert not torch.equal(y, model.process(mel, seed=1, steps=steps + 1))


@pytest.mark.parametrize("frames", [0, 1, 3])
def test_short_inputs(frames: int) -> None:
    with torch.inference_mode():
        y = tiny().process(torch.randn(2, 5, frames))
    assert y.shape == (2, 1, frames * 64)
    assert y.isfinite().all()


def test_stream_joins_segments_of_the_whole() -> None:
    """With GRN at its initial zero the context is bounded: segments with enough of it equal the whole."""
    model, mel = tiny(), torch.randn(1, 5, 200, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        whole = model.process(mel, seed=3)
        streamed = stream(model, 20, 60, seed=3).process(mel, 17)
    assert streamed.shape == whole.shape
    assert (streamed - whole).abs().max() < 1e-4 * whole.abs().max()


def test_segments_begin_where_all_periods_do() -> None:
    assert PeriodWave(PeriodWaveConfig(hidden_dim=16, embedding_dim=4)).hop_length * 256 % (64 * 210) == 0


def test_flow_matching_overfits_one_example() -> None:
    model = tiny(drop_path=0.0).train()
    batch = {"input": torch.randn(2, 5, 8), "target": torch.randn(2, 1, 512) * 0.1}
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)
    values = learn(model, batch, FlowMatchingLoss(), optimiser, 15, seed=1)
    assert values[-1] < 0.9 * values[0]


def test_turbo_trains_through_its_solver() -> None:
    torch.manual_seed(0)
    model = PeriodWaveTurbo(PeriodWaveTurboConfig(**{**TINY, "drop_path": 0.0})).train()
    batch = {"input": torch.randn(2, 5, 8), "target": torch.randn(2, 1, 512) * 0.1}
    values = learn(model, batch, mse, torch.optim.Adam(model.parameters(), 2e-3), 10, seed=1)
    assert values[-1] < 0.9 * values[0]
    assert (model.config.steps, model.config.solver, model.config.temperature) == (2, "euler", 1.0)


def test_skipped_blocks_only_in_training() -> None:
    model, mel = tiny(drop_path=0.9), torch.randn(1, 5, 6)
    with torch.no_grad():
        for block in (*model.condition.blocks, *model.condition.refine):
            block.compress.weight.normal_()
        std = model.prior_std(mel)
        assert torch.equal(model.encode(mel, std)[0], model.encode(mel, std)[0])
        model.train()
        torch.manual_seed(1)
        assert not torch.equal(model.encode(mel, std)[0], model.encode(mel, std)[0])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"features": "codec"}, "features: found 'codec', should be 'mel' or 'encodec'"),
        ({"solver": "heun"}, "solver: found 'heun', should be 'euler' or 'midpoint'"),
        ({"hidden_dim": 40}, "hidden_dim must be a multiple of 16"),
        ({"steps": 0}, "steps: found 0, should be greater than or equal to 1"),
        ({"energy_min": 10.0}, "must be below energy_max"),
        ({"mel": {"preset": "hifigan-22k", "hop_length": 200}}, "mel has hop_length 200"),
    ],
)
def test_bad_configurations_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        PeriodWave.from_config({**TINY, **values})


def test_features_of_another_size_are_refused() -> None:
    with pytest.raises(InputError, match="80"):
        tiny().process(torch.zeros(1, 80, 4))
