"""Recordings above 24 kHz have a default denoiser of their own: files, arrays, pipes and live streams."""

from __future__ import annotations

import io
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from kit.command import run_command

import audiotool
from audiotool import checkpoint, named_checkpoints
from audiotool.pipeline import Pipeline

DEMO = Path(__file__).parent / "data" / "audio" / "demo" / "noisy.flac"
RATE = 48000


@pytest.fixture(scope="module")
def noisy() -> np.ndarray:
    """Three seconds of the demo recording at 48 kHz, under hiss of every frequency."""
    speech, rate = soundfile.read(DEMO, frames=48000, dtype="float32")
    hiss = np.random.default_rng(0).normal(0, 0.003, 3 * RATE)
    return (soxr.resample(speech, rate, RATE) + hiss).astype(np.float32)


@pytest.fixture(scope="module")
def default() -> Pipeline:
    return audiotool.load("denoise", engine="onnx")


@pytest.fixture(scope="module")
def named() -> Pipeline:
    return audiotool.load("denoise-48k", engine="onnx")


def above(x: np.ndarray, hz: float = 9000.0) -> float:
    """The level from a frequency up, in decibels."""
    spectrum = np.abs(np.fft.rfft(x))[round(hz / RATE * len(x)) :]
    return float(20 * np.log10(np.sqrt(np.mean(np.square(spectrum))) + 1e-12))


def test_the_default_is_that_of_the_recordings_rate(default: Pipeline, named: Pipeline) -> None:
    assert (default.sample_rate, named.sample_rate) == (16000, RATE)
    assert default.at(24000) is default
    assert default.at(24001).engine.sample_rate == default.at(44100).engine.sample_rate == RATE
    assert default.at(RATE) is default.at(96000)
    assert audiotool.load("denoise-16k", engine="onnx").at(RATE).sample_rate == 16000


def test_arrays_streams_and_live(default: Pipeline, named: Pipeline, noisy: np.ndarray) -> None:
    expected = named(noisy, RATE)
    tolerance = 1e-5 * np.abs(expected).max()
    np.testing.assert_allclose(default(noisy, RATE), expected, atol=tolerance)
    blocks = np.array_split(noisy, 23)
    np.testing.assert_allclose(np.concatenate(list(default.stream(blocks, RATE))), expected, atol=tolerance)
    outputs = []
    for pipeline in (default, named):
        live = pipeline.live(RATE)
        assert live.latency_seconds <= 0.040
        outputs.append(np.concatenate([*(live.feed(block) for block in blocks), live.flush()]))
    np.testing.assert_allclose(outputs[0], outputs[1], atol=tolerance)


def test_settings_of_the_pipeline_count_at_every_rate(named: Pipeline, noisy: np.ndarray) -> None:
    kept = audiotool.load("denoise", engine="onnx", mix=0.0)
    np.testing.assert_allclose(kept(noisy, RATE), noisy, atol=1e-6)
    kept.settings = named.settings
    np.testing.assert_allclose(kept(noisy, RATE), named(noisy, RATE), atol=1e-5)


def test_a_live_stream_goes_on_from_its_state(default: Pipeline, noisy: np.ndarray) -> None:
    first, whole = default.live(RATE), default.live(RATE)
    beginning = first.feed(noisy[:60000])
    later = default.live(RATE, state=first.state())
    parts = np.concatenate([beginning, later.feed(noisy[60000:]), later.flush()])
    expected = np.concatenate([whole.feed(noisy), whole.flush()])
    np.testing.assert_allclose(parts, expected, atol=1e-5 * np.abs(expected).max())


def test_files_and_pipes_and_what_the_report_says(tmp_path: Path, noisy: np.ndarray, named: Pipeline) -> None:
    narrow = soxr.resample(noisy, RATE, 16000)
    (tmp_path / "in").mkdir()
    for name, samples, rate in (("wide", noisy, RATE), ("narrow", narrow, 16000)):
        soundfile.write(tmp_path / "in" / f"{name}.wav", samples, rate, "FLOAT")
    words = ["denoise", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--engine", "onnx"]
    done = run_command(*words, "--report", tmp_path / "report.json")
    assert done.exit_code == 0, done.output
    rows = json.loads((tmp_path / "report.json").read_text())["files"]
    assert {Path(row["input"]).stem: row["model"] for row in rows} == {
        "wide": "denoise-48k",
        "narrow": "denoise-16k",
    }
    found = {row["model"]: row["checkpoint_sha256"] for row in rows}
    assert found == {name: checkpoint.sha256(named_checkpoints.resolve(name)) for name in found}
    expected = named(noisy, RATE)
    written = soundfile.read(tmp_path / "out" / "wide.wav", dtype="float32")[0]
    np.testing.assert_allclose(written, expected, atol=1e-5 * np.abs(expected).max())
    pipe = io.BytesIO()
    soundfile.write(pipe, noisy, RATE, "FLOAT", format="WAV")
    piped = run_command("denoise", "-", "-o", "-", "--engine", "onnx", input=pipe.getvalue())
    assert piped.exit_code == 0
    samples, rate = soundfile.read(io.BytesIO(piped.stdout_bytes), dtype="float32")
    assert (rate, len(samples)) == (RATE, len(noisy))
    assert above(samples) < above(noisy) - 10


def test_hiss_is_removed_independently_of_the_low_band(default: Pipeline, noisy: np.ndarray) -> None:
    one_gain = audiotool.load("denoise-16k", engine="onnx")(noisy, RATE)
    assert above(default(noisy, RATE)) < above(one_gain) - 3
    assert above(default(noisy, RATE)) < above(noisy) - 10


@pytest.mark.parametrize("level_db", [-60, -40, -20, 0])
def test_the_output_follows_the_level(default: Pipeline, noisy: np.ndarray, level_db: float) -> None:
    loudest = noisy / np.abs(noisy).max()
    gain = np.float32(10 ** (level_db / 20))
    expected, found = default(loudest, RATE), default(loudest * gain, RATE) / gain
    error = np.sqrt(np.mean(np.square(found - expected)) / np.mean(np.square(expected)))
    assert 20 * np.log10(error + 1e-9) < (-10 if level_db == -60 else -20)


@pytest.mark.parametrize("rate", [44100, 48000, 96000])
@pytest.mark.parametrize("samples", [0, 1, 500, 20000])
def test_silence_and_short_recordings(default: Pipeline, rate: int, samples: int) -> None:
    assert not default(np.zeros((2, samples), np.float32), rate).any()
    x = np.random.default_rng(0).normal(0, 0.1, (2, samples)).astype(np.float32)
    y = default(x, rate)
    assert y.shape == x.shape
    assert np.isfinite(y).all()


def test_channels_are_independent_and_other_rates_are_resampled(default: Pipeline, noisy: np.ndarray) -> None:
    both = np.stack((noisy, np.roll(noisy, 12345) * 0.5))
    together = default(both, RATE)
    for channel, alone in zip(both, together, strict=True):
        np.testing.assert_allclose(default(channel, RATE), alone, atol=1e-5)
    at_44100 = soxr.resample(noisy, RATE, 44100).astype(np.float32)
    found = soxr.resample(default(at_44100, 44100), 44100, RATE)[: len(noisy)]
    expected = default(noisy, RATE)[: len(found)]
    middle = slice(RATE // 2, -RATE // 2)
    error, size = np.std((found - expected)[middle]), np.std(expected[middle])
    assert error < 0.2 * size


def test_threads_that_ask_at_once_share_one(named: Pipeline) -> None:
    loaded, together = list[Pipeline](), threading.Barrier(4)

    def load() -> Pipeline:
        time.sleep(0.05)
        loaded.append(Pipeline(named.engine, named.task))
        return loaded[-1]

    pipeline = Pipeline(named.engine, named.task, full_band=load)

    def ask() -> Pipeline:
        together.wait()
        return pipeline.at(RATE)

    with ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(ask) for _ in range(4)]
    assert [one.result() for one in asked] == 4 * loaded
