"""Counts against counts by hand; times only for being there."""

from __future__ import annotations

import math

import pytest
import torch
from kit.checkpoints import TINY

from audiotool.benchmark import (
    chunk_items,
    measure,
    peak_memory_mb,
    percentile,
    step_times,
)
from audiotool.engines import cost
from audiotool.engines.cost import count_macs
from audiotool.engines.pytorch import TorchEngine
from audiotool.models.base import Model, State
from audiotool.models.cleanunet import CleanUNet
from audiotool.models.layers.recurrent import GRU
from audiotool.models.registry import MODELS


class Recurrent(Model):
    """An LSTM and a product a sample: 4 * 8 * (1 + 8) + 8 multiplications."""

    config_class = dict

    def __init__(self) -> None:
        super().__init__({})
        self.sample_rate = 1000
        self.hop_length = 10
        self.cell = torch.nn.LSTM(1, 8, batch_first=True)
        self.out = torch.nn.Linear(8, 1)

    def step(self, x: torch.Tensor, state: State = None, final: bool = False) -> tuple[torch.Tensor, State]:
        hidden, state = self.cell(x.transpose(1, 2), state)
        return self.out(hidden).transpose(1, 2), state


def test_multiplications_of_a_recurrent_model() -> None:
    assert count_macs(Recurrent().eval()) == pytest.approx(1000 * (4 * 8 * 9 + 8))


def test_multiplications_of_our_gru_are_those_of_torchs() -> None:
    model = Recurrent()
    model.cell = GRU(1, 8, batch_first=True)  # type: ignore[assignment]
    assert count_macs(model.eval()) == pytest.approx(1000 * (3 * 8 * 9 + 8))


def test_multiplications_of_a_convolutional_model_do_not_depend_on_the_length() -> None:
    model = CleanUNet(TINY).eval()
    assert count_macs(model, 2.0) == pytest.approx(count_macs(model, 1.0), rel=0.35)


def test_weight_norm_does_not_disturb_the_count() -> None:
    model = Recurrent().eval()
    expected = count_macs(model)
    torch.nn.utils.parametrizations.weight_norm(model.out)
    assert count_macs(model) == pytest.approx(expected)


@pytest.mark.parametrize("name", list(MODELS.all()))
def test_every_model_has_a_cost(name: str) -> None:
    """Counted from shapes where that is possible, and then the same as counted by running."""
    torch.manual_seed(0)
    model = MODELS.get(name).from_config(MODELS.get(name).small).eval()
    if model.autoregressive:
        assert 0 < count_macs(model) < math.inf
        return
    noise = cost._noise(model, 0.1)
    with torch.no_grad():
        run = cost._macs(model, noise) * cost.items_per_second(model) / noise.shape[-1]
    assert 0 < run < math.inf
    assert count_macs(model, 0.1) == pytest.approx(run, rel=1e-6)


def test_counting_leaves_the_model_as_it_was() -> None:
    model = MODELS.get("hifigan").from_config(MODELS.get("hifigan").small).eval()
    next(model.parameters()).requires_grad_(False)
    trained = [p.requires_grad for p in model.parameters()]
    x = torch.randn(1, 80, 4)
    before = model.process(x)
    count_macs(model)
    assert torch.equal(model.process(x), before)
    assert [p.requires_grad for p in model.parameters()] == trained


def test_a_learnt_start_costs_nothing() -> None:
    model_class, config = MODELS.get("band-split-gru"), MODELS.get("band-split-gru").small
    plain, learnt = (model_class.from_config({**config, "learnt_start": on}).eval() for on in (False, True))
    assert count_macs(learnt) == count_macs(plain) > 0


def test_multiplications_of_wavenet_are_those_of_its_matrices() -> None:
    model = MODELS.get("wavenet").from_config(MODELS.get("wavenet").small).eval()
    c = model.config
    block = c.gate_channels * (c.kernel_size * c.residual_channels + model.input_channels)
    block += c.gate_channels // 2 * (c.residual_channels + c.skip_out_channels)
    head = c.skip_out_channels * (c.skip_out_channels + 3 * c.components)
    by_hand = model.sample_rate * (c.layers * block + head)
    # The mel's upsampling comes on top.
    assert by_hand < count_macs(model) < 1.5 * by_hand


def test_percentiles() -> None:
    values = [float(n) for n in range(1, 101)]
    assert [percentile(values, p) for p in (50, 95, 99, 100)] == [50, 95, 99, 100]
    assert percentile([3.0], 99) == 3.0
    assert math.isnan(percentile([], 50))


def test_measure_a_causal_model() -> None:
    model = CleanUNet(TINY).eval()
    result = measure(TorchEngine(model), seconds=2.0)
    assert result.parameters == model.parameter_count
    assert result.latency_ms == pytest.approx(model.latency / 16)
    assert result.hop_ms == pytest.approx(model.hop_length / 16)
    assert result.step_ms is not None
    assert 0 < result.step_ms["p50"] <= result.step_ms["p95"] <= result.step_ms["p99"]
    assert result.hop_ms is not None
    assert result.live_share == result.step_ms["p50"] / result.hop_ms
    assert result.real_time_factor > 0
    assert (result.threads, result.engine, result.device) == (1, "torch", "cpu")
    assert result.hop_latency_ms == pytest.approx((model.delay + model.hop_length - 1) / 16)
    assert result.resampled_latency_ms == pytest.approx(result.hop_latency_ms + 2 * 4.1, abs=0.3)  # type: ignore[operator]


def test_live_steps_count_from_the_first_output_on() -> None:
    model = CleanUNet(TINY).eval()
    steps = -(-chunk_items(TorchEngine(model), 1.0) // model.hop_length)
    waiting = -(-(model.latency + 1) // model.hop_length)
    assert steps - waiting - 2 <= len(step_times(TorchEngine(model), 1.0)) <= steps - 1


def test_memory_is_this_processs() -> None:
    before = peak_memory_mb()
    assert before is not None
    ballast = torch.ones(60_000_000 // 4 * 4)
    after = peak_memory_mb()
    assert after is not None
    assert after >= before
    assert after > ballast.numel() * 4 / 1e6
