"""WaveNet: memories against recomputation, exact streams, causality, training."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from kit.learning import learn
from kit.streams import stream
from kit.vocoders import WAVENET, features
from torch import Tensor

from audiotool.errors import CheckpointError, InputError
from audiotool.losses.logistic_mixture import LogisticMixtureLoss
from audiotool.models.layers import logistic_mixture, noise
from audiotool.models.wavenet import WaveNet


def tiny(**values: object) -> WaveNet:
    torch.manual_seed(0)
    return WaveNet.from_config({**WAVENET, **values}).eval()  # type: ignore[return-value]


def recomputed(model: WaveNet, x: Tensor, seed: int) -> Tensor:
    """Samples (B, 1, T) before de-emphasis, each from the whole past through `forward`."""
    condition = model.condition(x)
    length = condition.shape[-1]
    gumbel, logistic = logistic_mixture.sampling_noise(
        noise.uniform(seed, model.config.components + 1, 0, length)
    )
    samples = x.new_zeros(x.shape[0], 1, length + 1)
    for t in range(length):
        parameters = model(samples[..., : t + 1], condition[..., : t + 1])[..., -1:]
        at = slice(t, t + 1)
        samples[..., t + 1 : t + 2] = logistic_mixture.sample(parameters, gumbel[..., at], logistic[..., at])
    return samples[..., 1:]


@pytest.mark.parametrize("values", [{}, {"kernel_size": 3}, {"weight_norm": False, "layers": 6}])
def test_memories_equal_recomputation(values: dict[str, object]) -> None:
    model, x = tiny(**values), features(9, batch=2)
    with torch.no_grad():
        expected = recomputed(model, x, seed=4)
        found = model.process(x, seed=4)
    assert found.std() > 0.01
    assert (found - expected).abs().max() <= 1e-4


def test_preemphasis_and_gain_are_undone() -> None:
    x = features(6)
    with torch.no_grad():
        spoken = tiny().process(x)
        found = tiny(preemphasis=0.85, gain=0.5).process(x)
    expected = torch.zeros_like(spoken)
    for t in range(spoken.shape[-1]):
        expected[..., t] = spoken[..., t] + (0.85 * expected[..., t - 1] if t else 0)
    assert torch.allclose(found, expected / 0.5, atol=1e-5)
    # The signal trained on is what synthesis undoes.
    model = tiny(preemphasis=0.85, gain=0.5)
    small = {"input": x, "target": 0.01 * found}
    assert torch.allclose(model.training_outputs(small)["signal"], 0.01 * spoken, atol=1e-6)


@pytest.mark.parametrize("chunk", [1, 3, 20])
def test_streamed_equals_whole_bit_for_bit(chunk: int) -> None:
    model, x = tiny(preemphasis=0.5), features(31, batch=2)
    with torch.no_grad():
        whole = model.process(x, seed=5)
    streamed = stream(model, chunk, seed=5).process(x, [3, 0, 1, 20, 7])
    assert torch.equal(streamed, whole)
    assert not torch.equal(model.process(x, seed=6), whole)


def test_latency_is_that_of_the_condition() -> None:
    model, x = tiny(), features(20)
    frame = 12
    changed = x.clone()
    changed[..., frame:] += 1
    with torch.no_grad():
        differs = (model.process(x) != model.process(changed))[0, 0].nonzero().flatten()
    assert differs.min() + model.latency >= frame * 8
    assert differs.min() < frame * 8


def test_prediction_is_causal_in_samples() -> None:
    model = tiny()
    condition = model.condition(features(8))
    waveform = torch.rand(1, 1, 64) * 2 - 1
    changed = waveform.clone()
    changed[..., 40:] *= -1
    with torch.no_grad():
        a, b = model(waveform, condition), model(changed, condition)
    assert torch.equal(a[..., :40], b[..., :40])
    assert not torch.equal(a[..., 40], b[..., 40])


def test_receptive_field() -> None:
    with torch.device("meta"):
        model = WaveNet.from_config({})
    assert model.config.stack.receptive_field == 3070
    model = tiny(kernel_size=3)
    condition = torch.zeros(1, 6, 64)
    waveform = torch.zeros(1, 1, 64, requires_grad=True)
    model(waveform, condition)[0, :, 63].sum().backward()
    assert waveform.grad is not None
    assert 64 - int(waveform.grad[0, 0].nonzero().min()) == model.config.stack.receptive_field


def test_statistics_normalise_the_input() -> None:
    model, x = tiny(), features(6)
    with torch.no_grad():
        plain = model.condition(x)
        model.mean.fill_(2.0)
        model.scale.fill_(3.0)
        assert torch.allclose(model.condition(3 * x + 2), plain, atol=1e-5)


def test_nothing_in_nothing_out() -> None:
    assert tiny().process(features(0)).shape == (1, 1, 0)


def test_training_helps() -> None:
    model = tiny(dropout=0.0).train()
    batch = {"input": features(20, batch=2), "target": 0.1 * torch.randn(2, 1, 160)}
    loss = LogisticMixtureLoss()
    optimiser = torch.optim.Adam(model.parameters(), 5e-3)
    seen = learn(model, batch, loss, optimiser, 30, has_idle_weights=True)
    assert seen[1] < seen[0]
    assert seen[-1] < seen[0] - 0.5


def test_loss_is_the_likelihood_of_the_next_sample() -> None:
    model = tiny(dropout=0.0)
    batch = {"input": features(5), "target": torch.rand(1, 1, 40) - 0.5}
    with torch.no_grad():
        outputs = model.training_outputs(batch)
        parameters = model(F.pad(batch["target"], (1, -1)), model.condition(batch["input"]))
        expected = -logistic_mixture.log_likelihood(parameters, batch["target"], -7.0).mean()
        assert torch.isclose(LogisticMixtureLoss()(outputs, batch), expected)


def test_scales_have_a_floor_in_training_alone() -> None:
    x, target = features(5), torch.zeros(1, 1, 40)
    low, floored = (tiny(dropout=0.0, weight_norm=False, log_scale_min=floor) for floor in (-30.0, -2.0))
    with torch.no_grad():
        for model in (low, floored):
            last: Any = model.last_conv_layers[3]
            last.weight[6:], last.bias[6:] = 0.0, -12.0
        assert low.training_outputs({"input": x, "target": target})["parameters"][:, 6:].eq(-12).all()
        assert floored.training_outputs({"input": x, "target": target})["parameters"][:, 6:].eq(-2).all()
        assert torch.equal(low.process(x), floored.process(x))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"upsample_scales": [4, 4]}, "do not multiply to the mel's hop, 8"),
        ({"layers": 5}, "multiple of stacks"),
        ({"preemphasis": 1.0}, "preemphasis"),
    ],
)
def test_configurations_that_do_not_fit(values: dict[str, object], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        WaveNet.from_config({**WAVENET, **values})


def test_another_mel_is_refused() -> None:
    with pytest.raises(InputError, match=r"6, frames\), got \(1, 100, 5\).*vocos-24k"):
        tiny().process(torch.zeros(1, 100, 5))
