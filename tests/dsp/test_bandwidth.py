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


@pytest.mark.parametrize("below", ["offset", "hum"])
def test_an_offset_and_hum_leave_the_bandwidth_alone(speech: NDArray[np.float32], below: str) -> None:
    cycles = np.arange(len(speech)) / 16000
    hum = 0.5 * np.sin(2 * np.pi * 50 * cycles) + 0.2 * np.sin(2 * np.pi * 100 * cycles)
    louder = 0.1 * speech + (0.3 if below == "offset" else hum)
    assert measure(np.float32(louder), 16000) == pytest.approx(measure(speech, 16000), rel=0.01)


@pytest.mark.parametrize("level", [1e-30, 1e-12, 1e12, 1e30])
def test_the_level_leaves_the_bandwidth_alone(speech: NDArray[np.float32], level: float) -> None:
    assert measure(np.float32(level) * speech, 16000) == measure(speech, 16000)


@pytest.mark.parametrize("blocks", [777, 10**9])
def test_clicks_and_onsets_leave_the_bandwidth_alone(speech: NDArray[np.float32], blocks: int) -> None:
    narrow = soxr.resample(soxr.resample(speech, 16000, 8000), 8000, 16000)
    clicked = narrow.copy()
    clicked[len(speech) // 2 :: 32000] += 0.9
    clicked[: len(speech) // 4] = 0
    assert measure(clicked, 16000, blocks) == pytest.approx(measure(narrow, 16000), rel=0.02)


@pytest.mark.parametrize("bits", [8, 16, 24])
@pytest.mark.parametrize("dither", [False, True])
def test_the_noise_of_rounding_is_no_content(speech: NDArray[np.float32], bits: int, dither: bool) -> None:
    """Narrow speech of which that noise lies 30 to 40 dB under the strongest band."""
    narrow = soxr.resample(soxr.resample(speech, 16000, 8000), 8000, 16000).astype(np.float64)
    steps = 5 * narrow / np.std(narrow)
    if dither:
        steps += np.random.default_rng(0).triangular(-1, 0, 1, len(steps))
    rounded = np.float32(np.round(steps) * 2.0 ** (1 - bits))
    assert measure(rounded, 16000) == measure(rounded, 16000, 777)
    assert 3000 < (measure(rounded, 16000) or 0) < 4050


def test_noise_of_integers_is_content() -> None:
    noise = np.round(30 * np.random.default_rng(0).standard_normal(16000)) / 32768
    assert measure(np.float32(noise), 16000) == 8000


def test_every_channel_has_a_bandwidth(speech: NDArray[np.float32]) -> None:
    narrow = soxr.resample(soxr.resample(speech, 16000, 8000), 8000, 16000)
    dither = 1e-5 * np.random.default_rng(0).standard_normal(len(speech)).astype(np.float32)
    meter = BandwidthMeter(16000)
    meter.feed(np.stack((narrow, speech, 0 * speech, dither, 0.01 * narrow)))
    telephone, studio, silence, unused, quiet = meter.bandwidths_hz()
    assert telephone == quiet == pytest.approx(4000, rel=0.02)
    assert studio == meter.bandwidth_hz() == measure(speech, 16000)
    assert silence is unused is None


def test_a_constant_has_no_bandwidth() -> None:
    assert measure(np.full(8000, 0.3, np.float32), 16000) is None


@pytest.mark.parametrize("length", [0, 10, 8000])
def test_silence_has_no_bandwidth(length: int) -> None:
    assert measure(np.zeros(length, np.float32), 16000) is None


@pytest.mark.parametrize("level_db", [-50, -80])
@pytest.mark.parametrize("lines_hz", [[15625], [15625, 19000]])
def test_a_steady_line_far_above_the_content_is_no_edge(
    speech: NDArray[np.float32], level_db: int, lines_hz: list[int]
) -> None:
    """The whistle of a television set, and a pilot tone beside it, above a telephone's band."""
    narrow = soxr.resample(soxr.resample(speech, 16000, 7000), 7000, 48000)
    cycles = np.arange(len(narrow)) / 48000
    lines = sum(np.sin(2 * np.pi * hz * cycles) for hz in lines_hz)
    whistling = np.float32(narrow + np.sqrt(2) * 10 ** (level_db / 20) * lines)
    assert measure(whistling, 48000) == pytest.approx(measure(narrow, 48000), rel=0.01)


def test_harmonics_far_apart_are_content() -> None:
    """Of a whistling bird at 1.9 kHz, up to 9.5 kHz."""
    cycles = np.arange(96000) / 48000
    tones = sum(0.1 * np.sin(2 * np.pi * 1900 * n * cycles) for n in range(1, 6))
    assert measure(np.float32(tones), 48000) == pytest.approx(9500, abs=200)
