"""The bandwidth meter finds where content ends, in blocks as in one piece."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

from audiotool.dsp.bandwidth import BandwidthMeter

CLEAN = Path(__file__).parents[1] / "data" / "audio" / "demo" / "clean.flac"


def measure(waveform: NDArray[np.float32], sample_rate: int, size: int = 10**9) -> float | None:
    meter = BandwidthMeter(sample_rate)
    samples = np.asarray(waveform, dtype=np.float32)[None]
    for begin in range(0, samples.shape[1], size):
        meter.feed(samples[:, begin : begin + size])
    return meter.bandwidth_hz()


@pytest.fixture(scope="module")
def speech() -> NDArray[np.float32]:
    samples, rate = soundfile.read(CLEAN, dtype="float32")
    assert rate == 16000
    return samples


def test_wide_band_speech_reaches_up(speech: NDArray[np.float32]) -> None:
    assert (measure(speech, 16000) or 0) > 7000


@pytest.mark.parametrize("source_rate", [6000, 8000, 11025])
@pytest.mark.parametrize("quality", ["HQ", "VHQ"])
def test_an_upsampled_recording_is_recognised(
    speech: NDArray[np.float32], source_rate: int, quality: str
) -> None:
    narrow = soxr.resample(speech, 16000, source_rate, quality=quality)
    back = soxr.resample(narrow, source_rate, 16000, quality=quality)
    assert measure(back, 16000) == pytest.approx(source_rate / 2, rel=0.08)


def test_blocks_give_the_same_answer(speech: NDArray[np.float32]) -> None:
    assert measure(speech, 16000, 777) == measure(speech, 16000)


@pytest.mark.parametrize("length", [0, 10, 8000])
def test_silence_has_no_bandwidth(length: int) -> None:
    assert measure(np.zeros(length, np.float32), 16000) is None
