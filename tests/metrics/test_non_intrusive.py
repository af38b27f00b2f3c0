"""Metrics that need no reference, against the packages their definitions come from."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kit.audio import speech_like
from kit.scores import score_pair, write
from numpy.typing import NDArray

from audiotool.metrics import dnsmos, plcmos
from audiotool.metrics.base import METRICS, Pair, Recording, Unscorable, metric_names
from audiotool.metrics.graphs import Graph, graph_of_package
from audiotool.metrics.loudness import Loudness
from audiotool.metrics.pairing import FilePair
from audiotool.metrics.score import score

RATE = 16000

PUBLISHED = {
    3.0: {"sig": 3.2718978, "bak": 2.6106817, "ovrl": 2.2553640, "p808": 2.4026258, "plcmos": 2.2040393},
    8.0: {"sig": 3.3255557, "bak": 2.2662091, "ovrl": 2.1051113, "p808": 2.3742776, "plcmos": 2.1128869},
    12.0: {"sig": 3.3253536, "bak": 2.2555964, "ovrl": 2.1029292, "p808": 2.4540951, "plcmos": 2.1415819},
}
"""Scores of speechmos 0.0.1.1 with librosa 0.11 for `speech_like(seconds, 16000)`; PLCMOS after seed 0."""

needs_models = pytest.mark.skipif(not importlib.util.find_spec("speechmos"), reason="needs speechmos")


def in_blocks(waveform: NDArray[Any], sample_rate: int, size: int) -> Recording:
    """(channels, time), read so many samples at a time."""

    def read() -> Iterator[NDArray[Any]]:
        for start in range(0, waveform.shape[1], size):
            yield waveform[:, start : start + size]

    return Recording(read, sample_rate, len(waveform))


@pytest.mark.slow
@needs_models
@pytest.mark.parametrize("seconds", list(PUBLISHED))
def test_scores_are_those_of_the_package(seconds: float) -> None:
    waveform = speech_like(seconds, RATE)[0]
    names = [*metric_names(["dnsmos"]), "plcmos"]
    found = score(waveform, waveform, RATE, names)
    for name, expected in PUBLISHED[seconds].items():
        value = found[name if name == "plcmos" else f"dnsmos_{name}"].value
        assert value == pytest.approx(expected, abs=1e-4)


@needs_models
@pytest.mark.skipif(not importlib.util.find_spec("librosa"), reason="speechmos itself needs librosa")
def test_scores_are_those_of_the_package_called_directly() -> None:
    theirs = pytest.importorskip("speechmos.dnsmos")
    waveform = speech_like(10.5, RATE, seed=3)[0]
    expected, found = theirs.run(waveform, RATE), dnsmos.rate(Recording.of(waveform, RATE))
    for name, value in found.items():
        assert value == pytest.approx(float(expected[f"{name}_mos"]), abs=1e-4)


@pytest.mark.slow
@needs_models
def test_windows_that_share_their_convolutions_are_those_of_the_whole_network() -> None:
    count = 3
    samples = speech_like(9.01 + count - 1, RATE, seed=5)[0]
    whole = Graph(graph_of_package("speechmos", "dnsmos_models/sig_bak_ovr.onnx").read_bytes())
    windows = [samples[n * RATE : n * RATE + dnsmos.LENGTH] for n in range(count)]
    raw = np.concatenate([whole(window[None]) for window in windows])
    expected = np.column_stack([np.polyval(p, raw[:, n]) for n, p in enumerate(dnsmos.P835_SCALE.values())])
    np.testing.assert_allclose(dnsmos._p835(samples, count), expected, atol=1e-5)


@pytest.mark.slow
@needs_models
@pytest.mark.parametrize("seconds", [0.04, 0.5, 1.0, 1.13, 2.52, 4.0, 4.4, 8.0])
def test_repeated_windows_are_computed_once(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    waveform = speech_like(seconds, RATE, seed=7)
    quick = dnsmos.rate(Recording.of(waveform, RATE))
    monkeypatch.setattr(dnsmos, "_different", lambda number, period: number)
    monkeypatch.setattr(dnsmos, "_repeated", lambda trunk, frames, period: dnsmos._in_parts(trunk, frames))
    plain = dnsmos.rate(Recording.of(waveform, RATE))
    assert quick == pytest.approx(plain, abs=1e-5)


def test_windows_are_the_same_however_the_recording_is_read() -> None:
    waveform = np.arange(75 * RATE, dtype=np.float32)[None]

    def windows(size: int) -> list[float]:
        found = []
        for samples, first, number, _ in dnsmos._groups(iter(np.array_split(waveform, size, axis=1))):
            assert samples.shape[1] == dnsmos.LENGTH + (number - 1) * RATE
            assert number <= dnsmos.TOGETHER, "what is held is bounded"
            found += [float(samples[0, n * RATE]) for n in range(number)]
            assert found[first] == first * RATE
        return found

    expected = [float(n * RATE) for n in range(dnsmos.window_count(waveform.shape[1]))]
    assert len(expected) == 66
    assert windows(1) == windows(7) == windows(300) == expected


@pytest.mark.slow
@needs_models
def test_channels_count_alike_and_rates_are_resampled() -> None:
    left, right = speech_like(9.5, RATE, seed=1)[0], speech_like(9.5, RATE, seed=2)[0]
    both = dnsmos.rate(in_blocks(np.stack((left, right)), RATE, 50_000))
    each = [dnsmos.rate(Recording.of(channel, RATE)) for channel in (left, right)]
    for name, value in both.items():
        assert value == pytest.approx((each[0][name] + each[1][name]) / 2, abs=1e-5)
    high = speech_like(9.5, 48000)
    assert 1 < dnsmos.rate(Recording.of(high, 48000))["ovrl"] < 5


@pytest.mark.slow
@needs_models
def test_plcmos_is_the_same_at_each_run_and_long_recordings_are_windows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waveform = speech_like(3.0, RATE)
    metric = METRICS.get("plcmos")()
    whole = metric.measure(Pair(waveform[0], waveform[0], RATE))
    assert whole == metric.measure(Pair(waveform[0], waveform[0], RATE))
    monkeypatch.setattr(plcmos, "LONGEST", RATE)
    parts = [plcmos._score(waveform[0, n * RATE : (n + 1) * RATE]) for n in range(3)]
    assert plcmos.Plcmos().rate(in_blocks(waveform, RATE, 7000)) == pytest.approx(np.mean(parts), abs=1e-6)


@needs_models
def test_a_silent_channel_is_left_out_with_a_note(tmp_path: Path) -> None:
    speech = speech_like(2.0, RATE)
    names = ["dnsmos_ovrl", "dnsmos_p808", "plcmos", "loudness"]
    alone = score_pair(FilePair("a", None, write(tmp_path / "mono.wav", speech)), names)
    dead = write(tmp_path / "dead.wav", np.concatenate((0 * speech, speech)))
    row = score_pair(FilePair("a", None, dead, dead), names)
    for side in (row.values, row.baseline):
        for name in names[:3]:
            assert side[name].value == pytest.approx(alone.values[name].value, abs=1e-6)
    assert row.notes[0] == f"dnsmos_ovrl, dnsmos_p808, plcmos without channel 1 of {dead}, which is silent"
    assert not alone.notes


def test_the_channels_of_a_recording_that_are_heard() -> None:
    sounds = np.zeros((3, 70000), np.float32)
    sounds[0, -1], sounds[2, 5] = -0.5, 0.25  # each in another block
    recording = Recording.of(sounds, 16000)
    assert recording.silent == [1]
    heard = np.concatenate(list(recording.heard(16000)), axis=1)
    np.testing.assert_array_equal(heard, sounds[[0, 2]])
    assert sum(block.shape[1] for block in recording.heard(8000)) == 35000
    with pytest.raises(Unscorable, match="silent"):
        Recording.of(np.zeros((2, 100), np.float32), 16000).heard(16000)


@pytest.mark.parametrize("name", ["dnsmos_ovrl", "plcmos", "loudness"])
def test_silence_has_no_score(name: str) -> None:
    for package in ("speechmos", "pyloudnorm"):
        pytest.importorskip(package, exc_type=ImportError)
    found = score(np.zeros(RATE), np.zeros(RATE), RATE, [name])[name]
    assert found.value is None
    assert found.reason is not None
    assert "silent" in found.reason or "quieter" in found.reason


@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (44100, 2), (48000, 5), (8000, 1)])
def test_loudness_is_pyloudnorms(rate: int, channels: int) -> None:
    pyloudnorm = pytest.importorskip("pyloudnorm")
    waveform = speech_like(4.37, rate, channels)
    waveform[:, : rate // 2] *= 0.001
    expected = pyloudnorm.Meter(rate).integrated_loudness(waveform.T.astype(np.float64))
    assert Loudness().rate(in_blocks(waveform, rate, 1237)) == pytest.approx(expected, abs=1e-3)


def test_loudness_of_the_standards_sine() -> None:
    """BS.1770: a sine of 997 Hz at full scale in one channel is at -3.01 LUFS, within EBU's 0.1 LU."""
    pytest.importorskip("pyloudnorm")
    sine = np.sin(2 * np.pi * 997 * np.arange(5 * 48000) / 48000)
    value = METRICS.get("loudness")().measure(Pair(sine, sine, 48000))
    assert value == pytest.approx(-3.01, abs=0.1)


def test_recordings_without_a_loudness() -> None:
    pytest.importorskip("pyloudnorm")
    metric = Loudness()
    with pytest.raises(Unscorable, match="shorter than a gating block"):
        metric.rate(Recording.of(speech_like(0.3, RATE), RATE))
    with pytest.raises(Unscorable, match="five channels at most"):
        metric.rate(Recording.of(speech_like(1.0, RATE, 6), RATE))


def test_a_missing_package_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audiotool.extras.is_there", lambda module: False)
    found = score(np.ones(RATE), np.ones(RATE), RATE, ["dnsmos_sig", "plcmos", "loudness", "si_sdr"])
    assert "audiotool-speech[mos]" in str(found["dnsmos_sig"].reason)
    assert "audiotool-speech[mos]" in str(found["plcmos"].reason)
    assert "audiotool-speech[loudness]" in str(found["loudness"].reason)


def test_names_of_families() -> None:
    assert metric_names(["pesq", "dnsmos", "dnsmos_sig"]) == [
        *("pesq", "dnsmos_bak", "dnsmos_ovrl", "dnsmos_p808", "dnsmos_sig"),
    ]
    assert metric_names(["composite"]) == ["cbak", "covl", "csig"]
