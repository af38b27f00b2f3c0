"""PESQ survives its C code: crashes, hangs, silence and length all end in a number or a reason."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from kit.patience import PATIENCE
from pesq import pesq

from audiotool.audio.reader import read
from audiotool.metrics.base import Pair, Unscorable
from audiotool.metrics.pesq import NarrowBandPesq, Pesq, PesqWorker, windowed_pesq

DEMO = Path(__file__).parents[1] / "data" / "audio" / "demo"

CRASH = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"]
HANG = [sys.executable, "-c", f"import time; time.sleep({PATIENCE})"]


@pytest.fixture(scope="module")
def demo() -> Pair:
    (clean, rate), (noisy, _) = read(DEMO / "clean.flac"), read(DEMO / "noisy.flac")
    length = min(5 * rate, clean.shape[1])
    return Pair(clean[0, :length].astype(float), noisy[0, :length].astype(float), rate)


def test_short_recordings_score_as_the_package_does(demo: Pair) -> None:
    wide, narrow = demo.at(16000), demo.at(8000)
    assert Pesq().measure(demo) == pytest.approx(pesq(16000, *wide, "wb"), abs=1e-4)
    assert NarrowBandPesq().measure(demo) == pytest.approx(pesq(8000, *narrow, "nb"), abs=1e-4)


def test_low_rates_are_scored_narrow_band(demo: Pair) -> None:
    narrow = demo.at(8000)
    pair = Pair(narrow.reference, narrow.estimate, 8000)
    assert Pesq().measure(pair) == NarrowBandPesq().measure(pair)


def test_long_recordings_are_the_mean_of_equal_windows(demo: Pair) -> None:
    reference, estimate = (np.tile(w, 5)[: 20 * 16000] for w in demo.at(16000))
    half = len(reference) // 2
    parts = [pesq(16000, reference[s], estimate[s], "wb") for s in (slice(0, half), slice(half, None))]
    assert Pesq().measure(Pair(reference, estimate, 16000)) == pytest.approx(np.mean(parts), abs=1e-4)


def test_windows_without_speech_do_not_count(demo: Pair) -> None:
    reference, estimate = demo.at(16000)
    silence = np.zeros(20 * 16000 - len(reference))
    pair = Pair(np.append(reference, silence), np.append(estimate, silence), 16000)
    first = slice(0, 10 * 16000)
    alone = pesq(16000, pair.reference[first], pair.estimate[first], "wb")
    assert Pesq().measure(pair) == pytest.approx(alone, abs=1e-4)


def test_sixty_bursts_that_crash_the_c_code_are_scored() -> None:
    rng = np.random.default_rng(0)
    bursts = np.zeros(30 * 16000)
    for n in range(60):
        bursts[n * 8000 : n * 8000 + 3000] = 0.3 * rng.standard_normal(3000)
    score = Pesq().measure(Pair(bursts, bursts + 0.01 * rng.standard_normal(len(bursts)), 16000))
    assert 1.0 <= score <= 4.65


def test_one_process_serves_many_calls(demo: Pair) -> None:
    worker = PesqWorker()
    first = windowed_pesq(demo, 16000, worker)
    process = worker._process
    assert process is not None
    assert windowed_pesq(demo, 16000, worker) == first
    assert worker._process is process
    worker.close()
    assert process.poll() is not None


def test_a_crash_is_a_reason_and_the_next_call_works(demo: Pair) -> None:
    worker = PesqWorker(command=CRASH)
    with pytest.raises(Unscorable, match=r"PESQ crashed \(signal 11\)"):
        windowed_pesq(demo, 16000, worker)
    worker.command = PesqWorker().command
    assert windowed_pesq(demo, 16000, worker) > 1
    assert worker._process is not None
    os.kill(worker._process.pid, 9)
    worker._process.wait()
    assert windowed_pesq(demo, 16000, worker) > 1
    worker.close()


def test_a_hang_is_a_reason(demo: Pair) -> None:
    worker = PesqWorker(timeout_s=0.3, command=HANG)
    with pytest.raises(Unscorable, match=r"more than 0\.3 s"):
        windowed_pesq(demo, 16000, worker)


def test_pairs_without_a_score(demo: Pair) -> None:
    reference, estimate = demo.at(16000)
    huge = np.where(np.arange(len(reference)) == 9000, 1e30, reference)
    cases = {
        "the reference is silent": Pair(0 * reference, estimate, 16000),
        "the estimate is silent": Pair(reference, 0 * estimate, 16000),
        "PESQ gives no finite score": Pair(huge, estimate, 16000),
        "quarter of a second": Pair(reference[20000:22000], estimate[20000:22000], 16000),
    }
    for reason, pair in cases.items():
        with pytest.raises(Unscorable, match=reason):
            Pesq().measure(pair)


def test_a_click_is_no_utterance() -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(16000)
    click = np.zeros(16000)
    click[8000:8400] = noise[:400]
    with pytest.raises(Unscorable, match="no utterance in the reference"):
        Pesq().measure(Pair(click, noise, 16000))


def test_an_estimate_that_stops_speaking_says_where(demo: Pair) -> None:
    reference = np.tile(demo.at(16000).reference, 5)[: 20 * 16000]
    estimate = reference.copy()
    estimate[10 * 16000 :] = 0
    with pytest.raises(Unscorable, match=r"the estimate is silent between 10\.0 and 20\.0 s"):
        Pesq().measure(Pair(reference, estimate, 16000))
