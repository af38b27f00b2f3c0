"""Bandwidth extension adds above the edge only, at the predicted power, and estimates an unknown edge."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from audiotool.errors import CheckpointError
from audiotool.losses.bandwidth_extension import BandwidthExtensionLoss
from audiotool.models.bandwidth_extension import ROUNDS, BandwidthExtension, BandwidthExtensionConfig

RATE = 48000


def build(level: float | None = None, harmonic: float = 0.5, **config: object) -> BandwidthExtension:
    """A small model; with a level every band has that power (natural logarithm), and that harmonic share."""
    torch.manual_seed(0)
    model = BandwidthExtension(BandwidthExtensionConfig(**{**BandwidthExtension.small, **config})).eval()
    if level is not None:
        with torch.no_grad():
            model.head.weight.zero_()
            model.head.bias[: model.config.bands] = (level + 8) / 3
            model.head.bias[model.config.bands :] = torch.tensor(harmonic).logit()
    return model


def noise_up_to(hz: float, seconds: float = 1.0, seed: int = 0, rms: float = 0.05) -> Tensor:
    """(1, 1, T) white noise without what lies above."""
    x = torch.randn(1, 1, round(seconds * RATE), generator=torch.Generator().manual_seed(seed))
    spectrum = torch.fft.rfft(x)
    spectrum[..., round(hz * seconds) :] = 0
    x = torch.fft.irfft(spectrum)
    return x * (rms / x.std())


def density(x: Tensor, low_hz: float, high_hz: float) -> float:
    """Mean power of the bins of a range, where white noise of power 1 has 1."""
    power = torch.fft.rfft(x * torch.hann_window(x.shape[-1])).abs().square() / (0.375 * x.shape[-1])
    hz = torch.fft.rfftfreq(x.shape[-1], 1 / RATE)
    return power[..., (hz >= low_hz) & (hz < high_hz)].mean().item()


@torch.no_grad()
@pytest.mark.parametrize("bandwidth_hz", [2500.0, 4000.0, 8000.0, 12000.0])
def test_nothing_is_added_below_the_edge(bandwidth_hz: float) -> None:
    x = noise_up_to(bandwidth_hz)
    for told in (bandwidth_hz, torch.full((1, 1, 1), bandwidth_hz), None):
        added = build(level=0.0).process(x, bandwidth_hz=told) - x
        reach = 500 if told is None else 100
        assert density(added, 0, bandwidth_hz - 300) < 1e-5 * density(added, bandwidth_hz + reach, 24000)


@torch.no_grad()
def test_the_band_below_the_lowest_edge_stays() -> None:
    x = noise_up_to(1000)
    added = build(level=0.0).process(x, bandwidth_hz=1000.0) - x
    assert density(added, 0, 1800) < 1e-5 * density(added, 2100, 24000)


@torch.no_grad()
@pytest.mark.parametrize("harmonic", [1e-4, 0.5, 0.9999])
def test_bands_are_as_loud_as_predicted(harmonic: float) -> None:
    """With any share of harmonics and noise, within half a decibel at every frequency."""
    x = noise_up_to(4000, seconds=8.0)
    level_db = -20.0
    y = build(level=level_db / 10 * 2.302585, harmonic=harmonic, bands=48).process(x, bandwidth_hz=4000.0)
    for low in (4200, 8000, 16000, 22000):
        found = 10 * torch.tensor(density(y[..., RATE:], low, low + 1500) / 0.05**2).log10()
        assert found.item() == pytest.approx(level_db, abs=0.5), low


@torch.no_grad()
def test_a_full_band_is_not_changed() -> None:
    for hz in (24000, 23000):
        x = noise_up_to(hz)
        for told in (24000.0, None):
            torch.testing.assert_close(build(level=0.0).process(x, bandwidth_hz=told), x, atol=1e-7, rtol=0)


@torch.no_grad()
def test_silence_stays_silent_and_the_level_is_followed() -> None:
    model, x = build(level=-3.0), noise_up_to(4000)
    assert model.process(torch.zeros(1, 1, 9000)).abs().max() == 0
    loud, quiet = (model.process(gain * x, bandwidth_hz=4000.0) - gain * x for gain in (1.0, 0.1))
    torch.testing.assert_close(quiet, 0.1 * loud, atol=1e-5, rtol=2e-2)


@torch.no_grad()
@pytest.mark.parametrize("rms_db", [-70, -90])
def test_the_added_band_of_quiet_recordings_is_as_quiet(rms_db: float) -> None:
    model, x = build(), noise_up_to(4000, rms=1.0)
    loud, quiet = (model.process(10 ** (db / 20) * x, bandwidth_hz=4000.0) for db in (-30, rms_db))
    added, expected = density(quiet, 4500, 24000), 10 ** ((rms_db + 30) / 10) * density(loud, 4500, 24000)
    assert 10 * math.log10(added / expected) == pytest.approx(0, abs=0.5)


@torch.no_grad()
def test_noise_begins_again_in_the_middle_of_a_chunk() -> None:
    """Chunks change nothing where the position of the noise returns to 0, after hours of a stream."""
    model = build(level=0.0, harmonic=0.1)
    x, hop = noise_up_to(4000), model.hop_length
    outputs = []
    for size in (x.shape[-1], hop):
        state = {**model.start(bandwidth_hz=4000.0), "position": torch.full((1, 1), ROUNDS - 20.0)}
        parts = []
        with torch.no_grad():
            for chunk in x.split(size, dim=-1):
                y, state = model.step(chunk, state)
                parts.append(y)
        outputs.append(torch.cat(parts, dim=-1))
    assert outputs[0].shape == outputs[1].shape
    torch.testing.assert_close(outputs[0], outputs[1], rtol=0, atol=1e-5)


def test_harmonics_of_the_pitch_go_on() -> None:
    """A buzz of 250 Hz up to 4 kHz: above, its multiples are stronger than what lies between."""
    t = torch.arange(2 * RATE) / RATE
    buzz = sum(torch.sin(2 * torch.pi * 250 * k * t + k * k) for k in range(1, 16))
    assert isinstance(buzz, Tensor)
    y = build(level=-3.0, harmonic=0.9999).process(0.02 * buzz[None, None], bandwidth_hz=4000.0)[..., RATE:]
    for multiple in (18, 20, 28, 40):
        on = density(y, 250 * multiple - 10, 250 * multiple + 10)
        between = density(y, 250 * multiple + 100, 250 * multiple + 150)
        assert on > 20 * between, multiple


@torch.no_grad()
def test_an_unknown_edge_is_estimated() -> None:
    """The edge rises with the bandwidth of the input, and rows of a batch are independent."""
    model = build()
    narrow, wide = (noise_up_to(hz, 0.5) for hz in (3000, 9000))
    click = torch.zeros_like(wide)
    click[..., 12000] = 0.5
    both = torch.cat((narrow + click, wide))
    spec, _, _ = model._analyse(both, model.start(), False)
    edges, state = model.edge(spec)
    assert edges[0, 5:].unique().tolist() == pytest.approx([3000], abs=400)
    assert edges[1, 5:].unique().tolist() == pytest.approx([9000], abs=400)
    edges, _ = model.edge(spec.flip(0)[:, 5:9], state)
    assert edges[:, -1].flatten().tolist() == pytest.approx([9000, 9000], abs=400)


@torch.no_grad()
@pytest.mark.parametrize("hz", [0, 50, 60])
def test_an_unknown_edge_does_not_hear_what_lies_below_speech(hz: int) -> None:
    """An offset or hum, 20 dB louder than the rest, which falls towards its edge as speech does."""
    model, x = build(), noise_up_to(800, rms=0.02) + noise_up_to(3000, rms=1e-3, seed=1)
    below = 0.3 * torch.cos(2 * torch.pi * hz * torch.arange(x.shape[-1]) / RATE)
    spec, _, _ = model._analyse(x + below, model.start(), False)
    edges, _ = model.edge(spec)
    assert edges[0, 5:].unique().tolist() == pytest.approx([3000], abs=400)


@torch.no_grad()
@pytest.mark.parametrize("level", [1e-4, 3e-3])
def test_an_unknown_edge_is_not_that_of_a_line(level: float) -> None:
    """The whistle of a television set; of tones alone the highest counts."""
    model, x = build(), noise_up_to(3000)
    tone = level * torch.sin(2 * torch.pi * 15625 * torch.arange(x.shape[-1]) / RATE)
    for heard, hz in ((x + tone, 3000), (tone.expand_as(x), 15625)):
        edges, _ = model.edge(model._analyse(heard, model.start(), False)[0])
        assert edges[0, 5:].unique().tolist() == pytest.approx([hz], abs=400)


@torch.no_grad()
@pytest.mark.parametrize("offset", [1e-3, -0.1, 0.5])
@pytest.mark.parametrize("bandwidth_hz", [4000.0, None])
def test_an_offset_changes_nothing_that_is_added(offset: float, bandwidth_hz: float | None) -> None:
    """But for the last frame, in which it ends."""
    model, x = build(), noise_up_to(4000, rms=0.01)
    plain, other = (model.process(y, bandwidth_hz=bandwidth_hz) - y for y in (x, x + offset))
    band = (other - plain)[..., : -model.config.n_fft]
    assert band.abs().max() < 1e-2 * plain.abs().max()
    alone = torch.full((1, 1, RATE), offset)
    added = model.process(alone, bandwidth_hz=bandwidth_hz) - alone
    assert added[..., : -model.config.n_fft].abs().max() < 1e-6


@torch.no_grad()
def test_a_gain_counts_outside_training_alone() -> None:
    x = noise_up_to(4000)
    plain, louder = (build(level=-3.0, gain_db=db) for db in (0.0, 6.0))
    added = [m.process(x, bandwidth_hz=4000.0) - x for m in (plain, louder)]
    torch.testing.assert_close(added[1], 10 ** (6 / 20) * added[0], atol=1e-6, rtol=1e-3)
    assert torch.equal(louder.train().process(x), plain.train().process(x))


def batch(target: Tensor, input_hz: float = 4000.0, target_hz: float = 16000.0) -> dict[str, Tensor]:
    spectrum = torch.fft.rfft(target)
    spectrum[..., round(input_hz / RATE * target.shape[-1]) :] = 0
    return {
        "input": torch.fft.irfft(spectrum, target.shape[-1]),
        "target": target,
        "bandwidth_hz": torch.full((len(target), 1, 1), input_hz),
        "target_bandwidth_hz": torch.full((len(target), 1, 1), target_hz),
    }


def test_the_loss_ends_at_the_targets_bandwidth() -> None:
    model, loss = build().train(), BandwidthExtensionLoss()
    examples = batch(noise_up_to(16000).repeat(2, 1, 1))
    outputs = model.training_outputs(examples)
    centres = (model.members * model.bin_hz[:, None]).sum(0) / model.members.sum(0)
    assert (outputs["weight"][..., (centres < 3800) | (centres > 17500)] == 0).all()
    assert (outputs["weight"][..., (centres > 5000) & (centres < 14000)] == 1).all()
    # Content above the target's bandwidth has no influence.
    above = torch.fft.rfft(noise_up_to(24000))
    above[..., :17500] = 0
    hiss = examples | {"target": examples["target"] + torch.fft.irfft(above)}
    taught, unchanged = loss(outputs, examples), loss(model.training_outputs(hiss), hiss)
    assert unchanged.item() == pytest.approx(taught.item(), rel=0.02)


def test_training_sees_what_streams_give() -> None:
    """The estimate is that of `process`, and has a gradient."""
    model = build(level=-3.0).train()
    examples = batch(noise_up_to(16000, 0.2).repeat(2, 1, 1))
    estimate = model.training_outputs(examples)["estimate"]
    torch.testing.assert_close(estimate, model.process(examples["input"], bandwidth_hz=4000.0))
    estimate.square().mean().backward()
    assert model.head.bias.grad is not None
    assert model.head.bias.grad.abs().max() > 0


def test_training_finds_the_level_of_a_band() -> None:
    """A few steps on noise: the mean power of what is added comes near the target's."""
    model, loss = build().train(), BandwidthExtensionLoss(harmonic=0.0)
    examples = batch(noise_up_to(16000).reshape(2, 1, -1))
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(40):
        optimiser.zero_grad()
        outputs = model.training_outputs(examples)
        loss(outputs, examples).backward()
        optimiser.step()
    outputs = model.training_outputs(examples)
    sums = [(outputs["weight"] * outputs[name]).sum() for name in ("power", "target_power")]
    assert abs(10 * torch.log10(sums[0] / sums[1]).item()) < 2


def test_the_loss_of_known_powers() -> None:
    ones = torch.ones(1, 4, 3)
    outputs = {
        "power": ones * torch.e,
        "target_power": ones,
        "harmonic": 0.5 * ones,
        "target_harmonic": 0.2 * ones,
        "weight": ones * torch.tensor([1.0, 1.0, 0.0]),
    }
    of = [(0.0, 0.0, 1.0), (0.5, 0.0, 1.5), (0.0, 1.0, 1.09)]
    for energy, harmonic, expected in of:
        assert BandwidthExtensionLoss(energy, harmonic)(outputs, {}).item() == pytest.approx(
            expected, abs=1e-4
        )
    louder = BandwidthExtensionLoss(0.0, 0.0, asymmetry=0.5)(outputs, {}).item()
    assert louder == pytest.approx(1.5, abs=1e-4)
    burst = outputs | {"power": torch.cat((1e4 * ones[:, :1], outputs["power"][:, 1:]), 1)}
    with_energy, without = (
        BandwidthExtensionLoss(energy, 0.0, settling=1)(burst, {}).item() for energy in (0.5, 0.0)
    )
    assert with_energy - without == pytest.approx(0.5, abs=1e-4), "a burst in the first frame has no energy"
    short = BandwidthExtensionLoss(0.5, 0.0, settling=24)(outputs, {}).item()
    assert short == pytest.approx(1.5, abs=1e-4), "a recording shorter than that has an energy"
    with pytest.raises(ValueError, match="floor is a power above 0"):
        BandwidthExtensionLoss(floor=0.0)


def test_sizes_that_do_not_go_together() -> None:
    for wrong, message in (
        ({"n_fft": 1020, "hop_length": 510}, "multiple of 8"),
        ({"bands": 400}, "bands of 2"),
    ):
        with pytest.raises(CheckpointError, match=message):
            BandwidthExtension.from_config(wrong)
