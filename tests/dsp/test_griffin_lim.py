"""Griffin-Lim gives back a waveform of the mel that it was given, in its place."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from synthetic import speech_like

from audiotool.dsp.griffin_lim import griffin_lim, magnitude_of
from audiotool.dsp.mel import PRESETS, MelConfig, MelSpectrogram

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
    again = analysis(y)[..., 4:-4]
    before = mel[..., 4 : 4 + again.shape[-1]]
    again = again[..., : before.shape[-1]]
    change = (before - before.mean(-1, keepdim=True)).abs().mean()
    # Shifted by a frame, or of another power, it would be as far away as the frames are from their mean.
    assert (again - before).abs().mean() < 0.35 * change


def test_magnitudes_are_not_negative_and_have_the_mel() -> None:
    analysis = MelSpectrogram(MEL)
    mel = analysis(torch.from_numpy(speech_like(0.2, 16000)))
    magnitude = magnitude_of(mel, MEL)
    assert magnitude.min() >= 0
    found = (analysis.filterbank.T @ magnitude).clamp(min=MEL.floor).log()
    assert (found - mel).abs().mean() < 0.3


def test_the_same_every_time_and_next_to_nothing() -> None:
    mel = MelSpectrogram(MEL)(torch.from_numpy(speech_like(0.2, 16000)))
    state = torch.random.get_rng_state()
    assert torch.equal(griffin_lim(mel, MEL, 4), griffin_lim(mel, MEL, 4))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert griffin_lim(mel[..., :1], MEL).shape == (1, 128)
