"""scripts/measure_bandwidth.py: where speech ends, and what is not clean."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import soundfile

from audiotool.data.entry import Entry
from audiotool.data.manifest import read_manifest, write_manifest

RATE = 16000


def hissing_words(edge_hz: float, floor: float) -> np.ndarray:
    """Bursts of noise up to `edge_hz` over a floor of noise up to 8 kHz."""
    rng = np.random.default_rng(0)
    t = np.arange(3 * RATE) / RATE
    words = rng.standard_normal(len(t)) * (np.sin(2 * np.pi * 1.5 * t) > 0)
    if edge_hz < RATE / 2:
        words = scipy.signal.sosfilt(scipy.signal.cheby2(12, 80, edge_hz, fs=RATE, output="sos"), words)
    return (0.1 * words + floor * rng.standard_normal(len(t))).astype(np.float32)


def test_the_edge_is_found_and_noisy_recordings_are_left_out(run: Callable[..., str], tmp_path: Path) -> None:
    sounds = {
        "full": hissing_words(8000, 1e-5),
        "dull": hissing_words(5000, 1e-5),
        "noisy": hissing_words(8000, 2e-3),
    }
    for name, samples in sounds.items():
        soundfile.write(tmp_path / f"{name}.wav", samples, RATE, subtype="FLOAT")
    entries = [Entry(tmp_path / f"{name}.wav", "speech", name, RATE) for name in sounds]
    write_manifest(
        tmp_path / "m.csv",
        [*entries, Entry(tmp_path / "gone.wav", "speech"), Entry(tmp_path / "n.wav", "noise")],
    )
    said = run("measure_bandwidth", tmp_path / "m.csv", "-o", tmp_path / "o.csv", "--least-range", 44)
    assert said.endswith("\n1 rows of other kinds than speech are left out\n")
    found = {e.group: e.bandwidth_hz for e in read_manifest(tmp_path / "o.csv")}
    assert found.keys() == {"full", "dull"}
    assert found["full"] == 8000
    assert 4500 <= found["dull"] <= 5250


def test_at_48_khz_the_edge_may_lie_higher_and_dull_recordings_are_left_out(
    run: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "RATE", 48000)
    edges = {"dull": 9000, "wide": 19000}
    for name, edge_hz in edges.items():
        soundfile.write(tmp_path / f"{name}.wav", hissing_words(edge_hz, 1e-5), RATE, subtype="FLOAT")
    entries = [Entry(tmp_path / f"{name}.wav", "speech", name, RATE) for name in edges]
    write_manifest(tmp_path / "m.csv", entries)
    words = (tmp_path / "m.csv", "-o", tmp_path / "o.csv", "--rate", 48000, "--least-bandwidth", 14000)
    run("measure_bandwidth", *words)
    (kept,) = read_manifest(tmp_path / "o.csv")
    assert kept.group == "wide"
    assert kept.bandwidth_hz == pytest.approx(19000, abs=750)
