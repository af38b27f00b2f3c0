"""Griffin-Lim gives back a waveform of the mel that it was given, in its place."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from kit.audio import speech_like

from audiotool.dsp.griffin_lim import StreamingGriffinLim, griffin_lim, magnitude_of
from audiotool.dsp.mel import PRESETS, MelConfig, filterbank
from audiotool.dsp.mel_spectrogram import MelSpectrogram
from audiotool.dsp.stft import stft

MEL = MelConfig(16000, 512, 128, 80)


@pytest.mark.parametrize(
    "definition",
    [
        MEL,
        dataclasses.replace(MEL, padding="same", power_offset=1e-9),
        dataclasses.replace(MEL, padding="causal", log="log10"),
        dataclasses.replace(MEL, scale="htk", norm="none", power=2.0, log="none"),
        PRESETS["vocos-24k"],
    ],
)
def test_its_mel_is_the_one_given(definition: MelConfig) -> None:
    analysis = MelSpectrogram(definition)
    x = torch.from_numpy(speech_like(0.5, definition.sample_rate))
    mel = analysis(x)
    y = griffin_lim(mel, definition)
    assert y.shape == (1, mel.shape[-1] * definition.hop_length)
    reanalysed = analysis(y)[..., 4:-4]
    before = mel[..., 4 : 4 + reanalysed.shape[-1]]
    reanalysed = reanalysed[..., : before.shape[-1]]
    change = (before - before.mean(-1, keepdim=True)).abs().mean()
    # Shifted by a frame, or of another power, it would be as far away as the frames are from their mean.
    assert (reanalysed - before).abs().mean() < 0.35 * change


def test_magnitudes_are_not_negative_and_have_the_mel() -> None:
    analysis = MelSpectrogram(MEL)
    mel = analysis(torch.from_numpy(speech_like(0.2, 16000)))
    magnitude = magnitude_of(mel, MEL)
    assert magnitude.min() >= 0
    found = (analysis.filterbank.T @ magnitude).clamp(min=MEL.floor).log()
    assert (found - mel).abs().mean() < 0.3


def test_the_same_every_time_and_next_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    mel = MelSpectrogram(MEL)(torch.from_numpy(speech_like(0.2, 16000)))
    state = torch.random.get_rng_state()
    # The global generator is that of all threads: seeded and set back, it would change under another's hands.
    monkeypatch.setattr(torch, "manual_seed", None)
    assert torch.equal(griffin_lim(mel, MEL, 4), griffin_lim(mel, MEL, 4))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert griffin_lim(mel[..., :1], MEL).shape == (1, 128)


def spectrum(seconds: float = 0.4) -> torch.Tensor:
    return stft(torch.from_numpy(speech_like(seconds, 16000)), 512, 128)


@pytest.mark.parametrize("lookahead", [0, 1, 3])
def test_the_spectrum_of_a_waveform_is_left_alone(lookahead: int) -> None:
    spec = spectrum()
    found, _ = StreamingGriffinLim(512, 128, iterations=2, lookahead=lookahead)(spec, final=True)
    # Frames outside the stream are not silent: nothing is known of them.
    for part in (slice(None, 6), slice(6, -6), slice(-6, None)):
        difference = (found - spec)[..., part].abs().mean()
        assert difference < 0.02 * spec[..., part].abs().mean()


def inconsistency(spec: torch.Tensor) -> float:
    """How far magnitudes move when the spec is made a waveform and analysed again, as part of them."""
    window = torch.hann_window(512)
    reanalysed = stft(torch.istft(spec, 512, 128, window=window), 512, 128)
    return float((reanalysed.abs() - spec.abs()).norm() / spec.norm())


def test_iterations_make_random_phases_consistent() -> None:
    magnitude = spectrum().abs()
    generator = torch.Generator().manual_seed(0)
    phases = 2 * torch.pi * torch.rand(magnitude.shape, generator=generator)
    start = torch.polar(magnitude, phases)
    found = {n: StreamingGriffinLim(512, 128, n)(start, final=True)[0] for n in (0, 4, 16)}
    assert torch.equal(found[0], start)
    assert torch.allclose(found[16].abs(), magnitude, atol=1e-5)
    assert inconsistency(found[4]) < 0.75 * inconsistency(start)
    assert inconsistency(found[16]) < 0.75 * inconsistency(found[4])


def test_an_iteration_waits_for_its_lookahead() -> None:
    iterate = StreamingGriffinLim(512, 128, iterations=5, lookahead=2)
    spec = spectrum()
    beginning, state = iterate(spec[..., :20])
    rest, _ = iterate(spec[..., 20:], state, final=True)
    assert beginning.shape[-1] == 20 - 5 * 2
    whole, _ = iterate(spec, final=True)
    assert torch.allclose(torch.cat((beginning, rest), dim=-1), whole, atol=1e-4)


def free(iterations: int) -> StreamingGriffinLim:
    return StreamingGriffinLim(512, 128, iterations, freedom=0.8, bank=filterbank(MEL))


def test_free_magnitudes_keep_the_mel_and_are_more_consistent() -> None:
    """Magnitudes smeared over the bands, as from a mel alone."""
    bank = torch.from_numpy(filterbank(MEL))
    spec = spectrum()
    mel = bank.T @ spec.abs()
    smeared = (bank / bank.sum(1, keepdim=True).clamp(min=1e-9)) @ (mel / bank.sum(0)[:, None])
    generator = torch.Generator().manual_seed(0)
    start = torch.polar(smeared, 2 * torch.pi * torch.rand(spec.shape, generator=generator))
    kept = StreamingGriffinLim(512, 128, 16)(start, final=True)[0]
    found = free(16)(start, final=True, mel=mel)[0]
    assert inconsistency(found) < 0.95 * inconsistency(kept)
    inner = slice(20, -20)
    assert ((bank.T @ found.abs() - mel)[..., inner].abs().mean()) < 0.1 * mel[..., inner].mean()
    assert torch.equal(free(0)(start, final=True, mel=mel)[0], start)


def test_free_magnitudes_are_streamed_as_whole_and_silence_stays() -> None:
    bank, spec = torch.from_numpy(filterbank(MEL)), spectrum()
    mel = bank.T @ spec.abs()
    whole, _ = free(3)(spec, final=True, mel=mel)
    parts, state = [], None
    for n in range(0, spec.shape[-1], 7):
        part, state = free(3)(spec[..., n : n + 7], state, mel=mel[..., n : n + 7])
        parts.append(part)
    parts.append(free(3)(spec[..., :0], state, final=True, mel=mel[..., :0])[0])
    assert torch.allclose(torch.cat(parts, dim=-1), whole, atol=1e-4)
    assert not free(3)(0 * spec, final=True, mel=0 * mel)[0].abs().any()


def test_free_magnitudes_need_a_mel() -> None:
    with pytest.raises(ValueError, match="filterbank is missing"):
        StreamingGriffinLim(512, 128, 3, freedom=0.5)
