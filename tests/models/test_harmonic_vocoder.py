"""The harmonic vocoder synthesises the given F0 and mel, and learns from every output."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from audiotool.dsp.mel_spectrogram import MelSpectrogram
from audiotool.dsp.pitch import fundamental_frequency
from audiotool.errors import CheckpointError
from audiotool.losses.base import LOSSES
from audiotool.models.harmonic_vocoder import HarmonicVocoder, HarmonicVocoderConfig

TINY = HarmonicVocoderConfig(dim=16, intermediate_dim=24, num_layers=1, iterations=4)


def tiny() -> HarmonicVocoder:
    torch.manual_seed(0)
    return HarmonicVocoder(TINY).eval()


@torch.no_grad()
@pytest.mark.parametrize("hertz", [90.0, 150.0, 310.0])
def test_a_known_f0_is_in_the_output(hertz: float) -> None:
    model = tiny()
    f0 = torch.full((1, 80), hertz)
    prediction = {
        "f0": f0,
        # A flat envelope with lobes of 4 nepers.
        "log_magnitude": 4 * model._comb(f0)[0],
        "harmonicity": torch.full((1, 513, 80), 4.0),
    }
    spec, _, _ = model.initial(prediction)
    spec, _ = model.iterations(spec, final=True)
    waveform, _ = model.inverse(spec, final=True)
    found = fundamental_frequency(waveform, 22050, 256)[0, 10:70]
    assert (found - hertz).abs().max() < 0.01 * hertz


def test_the_first_phase_advances_with_f0() -> None:
    """A steady tone on a bin turns by F0 * hop / rate cycles a frame."""
    model = tiny()
    hertz = 22050 / 1024 * 8
    ones = torch.ones(1, 513, 6)
    spec, _, _ = model.initial(
        {"f0": torch.full((1, 6), hertz), "log_magnitude": 0 * ones, "harmonicity": 9 * ones}
    )
    turn = torch.angle(spec[0, 8, 1:] * spec[0, 8, :-1].conj()) / (2 * torch.pi)
    assert torch.allclose(turn % 1, torch.full((5,), hertz * 256 / 22050 % 1), atol=1e-4)


@torch.no_grad()
def test_magnitudes_have_the_given_mel() -> None:
    model = tiny()
    torch.nn.init.normal_(model.spectrum.weight, std=0.3)
    analysis = MelSpectrogram("hifigan-22k")
    noise = torch.randn(1, 22050, generator=torch.Generator().manual_seed(0))
    mel = analysis(0.1 * noise)
    prediction, _ = model.predict(mel)
    free = model.mel_envelope.envelope(mel) + 1.0 * torch.randn(1, 513, 1)
    errors = [
        ((analysis.filterbank.T @ log_magnitude.exp()).log() - mel).abs().mean()
        for log_magnitude in (prediction["log_magnitude"], free, model.mel_envelope.match(free, mel))
    ]
    assert errors[0] < 0.15
    assert errors[2] < 0.3 * errors[1]


def test_f0_goes_through_its_classes() -> None:
    model = tiny()
    f0 = torch.linspace(65, 480, 50)[None]
    classes = model._pitch_classes(f0)
    assert torch.allclose(classes.sum(1), torch.ones(1, 50))
    assert ((model._f0(classes.clamp(min=1e-9).log()) / f0) - 1).abs().max() < 2e-3


def test_losses_reach_every_weight() -> None:
    model = tiny().train()
    torch.nn.init.normal_(model.spectrum.weight, std=0.1)
    time = torch.arange(32 * 256) / 22050
    target = sum(torch.cos(2 * torch.pi * 130 * n * time) for n in range(1, 20)) * 0.02
    batch = {
        "input": MelSpectrogram("hifigan-22k")(target[None]),  # type: ignore[index]
        "target": target[None, None],  # type: ignore[index]
    }
    outputs = model.training_outputs(batch)
    assert ((outputs["target_f0"][0, 4:-4] - 130).abs() < 1).all()
    assert outputs["target_log_magnitude"].shape == outputs["log_magnitude"].shape
    sum(LOSSES.get(name)()(outputs, batch) for name in ("log-magnitude", "pitch")).backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().max() > 0, name


@pytest.mark.parametrize(
    ("hop_length", "padding"), [(256, "same"), (256, "center"), (275, "same"), (275, "center")]
)
def test_targets_are_the_f0_at_the_middle_of_the_mels_frames(hop_length: int, padding: str) -> None:
    mel: dict[str, Any] = {
        "sample_rate": 22050,
        "n_fft": 4 * hop_length,
        "hop_length": hop_length,
        "n_mels": 80,
        "padding": padding,
    }
    model = HarmonicVocoder.from_config({**HarmonicVocoder.small, "mel": mel})
    time = torch.arange(400 * hop_length, dtype=torch.float64) / 22050
    frequency = 150 + 60 * torch.sin(6 * torch.pi * time)
    phase = 2 * torch.pi * frequency.cumsum(0) / 22050
    target = 0.1 * torch.stack([torch.sin(k * phase) / k for k in range(1, 15)]).sum(0).float()[None]
    analysed = MelSpectrogram(mel)(target)
    found = model.training_outputs({"input": analysed, "target": target[None]})["target_f0"][0]
    assert len(found) == analysed.shape[-1]
    inner = torch.arange(20, 380)
    middles = inner * hop_length + (hop_length // 2 if padding == "same" else 0)
    assert (found[inner] - frequency[middles]).abs().median() < 0.5


def test_configurations_that_make_no_sense_are_refused() -> None:
    with pytest.raises(CheckpointError, match="fmin"):
        HarmonicVocoder.from_config({"fmin": 300.0, "fmax": 200.0})
    with pytest.raises(CheckpointError, match="natural"):
        HarmonicVocoder.from_config({"mel": "parallel-wavegan-22k"})


def test_each_iteration_costs_its_lookahead() -> None:
    latencies = [
        HarmonicVocoder(HarmonicVocoderConfig(dim=8, intermediate_dim=8, num_layers=1, iterations=n)).latency
        for n in (0, 1, 5)
    ]
    # The latency of the inverse transform, as in a causal Vocos, and one hop for each iteration.
    assert latencies == [384, 384 + 256, 384 + 5 * 256]


@torch.no_grad()
@pytest.mark.parametrize("padding", ["center", "same", "causal", "none"])
def test_the_latency_is_what_a_stream_lags_by(padding: str) -> None:
    mel = {"preset": "hifigan-22k", "padding": padding}
    model = HarmonicVocoder.from_config({**HarmonicVocoder.small, "mel": mel}).eval()
    output, _ = model.step(torch.full((1, 80, 12), -5.0))
    assert model.latency == 12 * model.upsampling - output.shape[-1]


REAL_TIME = {**HarmonicVocoder.small, "inversion": "real-time", "iterations": 6, "lookahead": 6}


def test_in_real_time_all_iterations_cost_one_lookahead() -> None:
    model = HarmonicVocoder.from_config({**REAL_TIME, "mel": "bigvgan-v2-24k-100"})
    assert (model.latency, model.sample_rate) == (1920, 24000)
    assert model.hop_length == 1


@torch.no_grad()
def test_in_real_time_a_hum_keeps_its_pitch() -> None:
    settings: dict[str, Any] = {"iterations": 6, "lookahead": 6, "momentum": 0.85, "freedom": 0.9}
    model = HarmonicVocoder(replace(TINY, inversion="real-time", **settings)).eval()
    f0 = torch.full((1, 80), 150.0)
    log_magnitude = 4 * model._comb(f0)[0]
    spec, rotation, _ = model.initial(
        {"f0": f0, "log_magnitude": log_magnitude, "harmonicity": torch.full((1, 513, 80), 4.0)}
    )
    mel = model.mel_envelope.bank.T @ log_magnitude.exp()
    waveform, _ = model.iterations(spec, mel, rotation, None, True)
    found = fundamental_frequency(waveform, 22050, 256)[0, 10:70]
    assert (found - 150.0).abs().max() < 1.5


def test_a_hop_that_real_time_cannot_take_is_refused() -> None:
    mel = {"sample_rate": 8000, "n_fft": 120, "hop_length": 30, "n_mels": 12, "padding": "same"}
    with pytest.raises(CheckpointError, match="must divide"):
        HarmonicVocoder.from_config({**REAL_TIME, "mel": mel})
