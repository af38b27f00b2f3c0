"""What the bundled separator makes of recordings that are no mono mixture of two voices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import audiotool
from audiotool.metrics.sdr import si_sdr

SPEECH = Path(__file__).parent / "data" / "audio" / "speech"
RATE = 16000
DEEPER = 0.6
"""Factor of pitch and pace that makes another voice of one."""


@pytest.fixture(scope="module")
def separator() -> audiotool.Pipeline:
    return audiotool.load("separate", engine="onnx")


def voice(name: str, factor: float = 1.0) -> NDArray[np.float32]:
    """Four seconds of speech at -20 dB."""
    x = audiotool.read(SPEECH / f"{name}.ogg")[0][0]
    x = np.interp(np.arange(4 * RATE) * factor, np.arange(len(x)), x).astype(np.float32)
    return np.float32(0.1) * x / np.sqrt(np.square(x).mean())


def decibels(x: NDArray[np.float32]) -> float:
    return float(10 * np.log10(np.square(x).mean() + 1e-12))


@pytest.mark.parametrize("name", ["LJ003-0086", "LJ003-0089"])
def test_a_voice_alone_is_in_one_stem(separator: audiotool.Pipeline, name: str) -> None:
    x = voice(name)
    quiet, loud = sorted(separator(x, RATE), key=decibels)
    assert decibels(quiet) < decibels(loud) - 10
    assert si_sdr(x, loud) > 10


@pytest.mark.parametrize("shares", [(0.0, 0.0), (0.4, 0.4), (0.0, 0.6)])
def test_the_mono_mix_decides_for_both_channels(
    separator: audiotool.Pipeline, shares: tuple[float, float]
) -> None:
    """Left holds the first voice and a share of the second, right the second and a share of the first."""
    voices = np.stack([voice("LJ003-0086"), voice("LJ003-0089", DEEPER)])
    channels = np.array([[1, shares[0]], [shares[1], 1]], np.float32) @ voices
    stems, alone = separator(channels, RATE), separator(channels.mean(0), RATE)
    # Masks are linear: on the mean the stems of the channels are those of the mix.
    for stem, mono in zip(stems.mean(1), alone, strict=True):
        assert decibels(stem - mono) < decibels(mono) - 15
    assert min(decibels(stem) for stem in stems.reshape(4, -1)) > -60


def test_silence_is_no_speaker_and_three_voices_share_two_stems(separator: audiotool.Pipeline) -> None:
    assert not separator(np.zeros(RATE, np.float32), RATE).any()
    x = voice("LJ003-0086") + voice("LJ003-0089", DEEPER) + voice("LJ001-0035", 0.8)
    three = separator(x, RATE)
    assert np.isfinite(three).all()
    assert decibels(three.sum(0) - x) < decibels(x) - 6
    assert min(decibels(stem) for stem in three) > decibels(x) - 20
