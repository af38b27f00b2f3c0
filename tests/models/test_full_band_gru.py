"""The full-band GRU does below 8 kHz what the network of 16 kHz does there, and only lowers what is above."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from audiotool.errors import CheckpointError
from audiotool.models.band_split_gru import BandSplitGRU, BandSplitGRUConfig
from audiotool.models.full_band_gru import FullBandGRU, FullBandGRUConfig

SMALL: dict[str, Any] = {"dim": 8, "layers": 2}


def build(**config: Any) -> FullBandGRU:
    torch.manual_seed(0)
    values = SMALL | {"upper_dim": 8, "upper_layers": 1} | config
    return FullBandGRU(FullBandGRUConfig(**values)).eval()


def above(x: Tensor) -> Tensor:
    """Return the part of a waveform at 48 kHz above 9 kHz."""
    spec = torch.fft.rfft(x)
    spec[..., : round(9000 / 48000 * x.shape[-1])] = 0
    return torch.fft.irfft(spec, x.shape[-1])


def all_pass(model: FullBandGRU, passes: bool) -> None:
    with torch.no_grad():
        model.upper.head.weight.zero_()
        model.upper.head.bias.fill_(30.0 if passes else -200.0)


@torch.no_grad()
def test_the_low_band_is_that_of_16_khz() -> None:
    model = build()
    low = BandSplitGRU(BandSplitGRUConfig(**SMALL)).eval()
    low.load_state_dict({name: model.state_dict()[name] for name in low.state_dict()})
    all_pass(model, False)
    generator = torch.Generator().manual_seed(1)
    hertz, phases = 7000 * torch.rand(40, generator=generator), 6.28 * torch.rand(40, generator=generator)

    def sounds(rate: int) -> Tensor:
        t = torch.arange(rate, dtype=torch.float64) / rate
        swell = torch.sin(torch.pi * t).square()  # what begins at once has no end of frequencies
        return (swell * torch.sin(2 * torch.pi * hertz[:, None] * t + phases[:, None]).sum(0) / 40).float()

    wide, narrow = (m.process(sounds(m.sample_rate)[None, None])[0, 0] for m in (model, low))
    # The level is measured in frames in one, in hops in the other.
    assert (wide[::3] - narrow).std() < 0.02 * narrow.std()
    assert above(wide).abs().max() < 1e-3 * narrow.abs().max()


@torch.no_grad()
@pytest.mark.parametrize("passes", [True, False])
def test_upper_bands_pass_or_are_removed(passes: bool) -> None:
    model = build()
    all_pass(model, passes)
    x = torch.randn(1, 1, 24000, generator=torch.Generator().manual_seed(0)) * 0.1
    y = model.process(x)
    middle = slice(4000, 20000)
    if passes:
        torch.testing.assert_close(above(y)[..., middle], above(x)[..., middle], atol=1e-4, rtol=0)
    else:
        assert above(y)[..., middle].std() < 1e-3 * above(x)[..., middle].std()


@torch.no_grad()
def test_slopes_change_bins_and_not_the_level_of_a_flat_band() -> None:
    plain, sloped = build(), build(upper_slopes=True)
    sloped.load_state_dict(plain.state_dict(), strict=False)
    assert sloped.upper.slopes is not None
    flat = torch.full((1, 1, 608), 0.01)
    one = flat.clone()
    one[..., 40] = 1.0
    low = torch.full((1, 1, 256), 0.01)
    hidden = torch.zeros(1, len(plain.upper.low_means.T), 8)
    for level in (0.0, 1.0):
        sloped.upper.slopes.bias.fill_(level)
        gains, flat_gains = (sloped.upper(x, low, low, hidden, [None])[0] for x in (one, flat))
        assert bool(gains[0, 0, 40] > gains[0, 0, 39] + 0.1) == bool(level)
        torch.testing.assert_close(
            flat_gains, plain.upper(flat, low, low, hidden, [None])[0], atol=0.05, rtol=0
        )


@torch.no_grad()
@pytest.mark.parametrize("slopes", [False, True])
def test_output_follows_the_input_level_and_silence_stays_silent(slopes: bool) -> None:
    model = build(upper_slopes=slopes)
    if model.upper.slopes is not None:
        model.upper.slopes.weight.normal_()
    x = torch.randn(1, 1, 24000, generator=torch.Generator().manual_seed(0)) * 0.1
    torch.testing.assert_close(model.process(x * 0.1), model.process(x) * 0.1, atol=1e-4, rtol=1e-2)
    assert model.process(torch.zeros(1, 1, 4000)).abs().max() == 0


def test_a_frozen_low_band_has_no_gradient_and_the_same_output() -> None:
    model = build(learnt_start=True)
    batch = {"input": torch.randn(2, 1, 24000, generator=torch.Generator().manual_seed(0)) * 0.1}
    trained = model.training_outputs(batch)["estimate"]
    for name, weight in model.named_parameters():
        weight.requires_grad_(name.startswith("upper."))
    frozen = model.training_outputs(batch)["estimate"]
    torch.testing.assert_close(frozen, trained)
    frozen.square().mean().backward()
    grads = {name: weight.grad for name, weight in model.named_parameters()}
    assert all((grad is not None) == name.startswith("upper.") for name, grad in grads.items())
    pooled = grads["upper.pool.weight"]
    assert pooled is not None
    assert pooled.abs().max() > 0


def test_silence_has_gradients() -> None:
    model = build()
    x = torch.randn(1, 1, 24000, generator=torch.Generator().manual_seed(0)) * 0.1
    x[..., :12000] = 0
    model.training_outputs({"input": x})["estimate"].square().mean().backward()
    assert all(weight.grad.isfinite().all() for weight in model.parameters() if weight.grad is not None)


@torch.no_grad()
def test_a_warm_up_remembers_the_upper_bands_too() -> None:
    model = build()
    x = torch.randn(2, 1, 24000, generator=torch.Generator().manual_seed(0)) * 0.1
    memory = model.warm_up(x)
    assert [state.shape for state in memory["upper"]] == [(2, 28, 8)]
    state = model.step(x, model.start(memory=memory))[1]
    forgotten = model.forget(state, torch.tensor([True, False]), memory)
    assert torch.equal(forgotten["upper"][0][0], memory["upper"][0][0])
    assert torch.equal(forgotten["upper"][0][1], state["upper"][0][1])


def test_bands_that_do_not_fill_the_spectrum_are_refused() -> None:
    with pytest.raises(CheckpointError, match=r"= 768 bins, .* found 256 and 10"):
        FullBandGRU.from_config({"upper_bands": [[1, 10]]})
    with pytest.raises(CheckpointError, match="one stem, found 2"):
        FullBandGRU.from_config({"stems": ["speaker1", "speaker2"]})
