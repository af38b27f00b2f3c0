"""scripts/score_upper_band.py distinguishes hiss over a vowel from hiss over an s."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import soundfile
from score_upper_band import measured

RATE = 48000


def vowel_and_s() -> np.ndarray:
    """A second of harmonics under 4 kHz, and a second of noise above 8 kHz."""
    t = np.arange(RATE) / RATE
    vowel = sum(np.sin(2 * np.pi * 150 * n * t) / n for n in range(1, 25)) / 10
    noise = np.random.default_rng(0).normal(0, 0.1, RATE)
    hiss = scipy.signal.sosfilt(scipy.signal.butter(8, 8500, "high", fs=RATE, output="sos"), noise)
    return np.concatenate((vowel, hiss)).astype(np.float32)


def test_only_hiss_over_the_vowel_counts() -> None:
    clean = vowel_and_s()
    hiss = np.random.default_rng(1).normal(0, 0.001, len(clean)).astype(np.float32)
    in_vowel, in_s = (
        (clean + hiss * keep).astype(np.float32)
        for keep in (np.arange(len(clean)) < RATE, np.arange(len(clean)) > RATE)
    )
    upper, _, si_sdr, over = measured(clean, in_vowel, RATE)
    assert over > 10
    assert upper > 1
    assert si_sdr > 30
    assert measured(clean, in_s, RATE)[3] < 1
    assert measured(clean, clean * np.float32(0.9), RATE)[3] == pytest.approx(0, abs=1)


def test_the_table_has_a_row_a_system(run: Callable[..., str], tmp_path: Path) -> None:
    clean = vowel_and_s()
    for folder, noise in (("clean", 0.0), ("noisy", 0.01)):
        (tmp_path / folder).mkdir()
        x = clean + noise * np.random.default_rng(2).standard_normal(len(clean))
        soundfile.write(tmp_path / folder / "0.wav", x, RATE, "FLOAT")
    lines = run("score_upper_band", "--test", tmp_path, "--model", "denoise-tiny-16k").splitlines()
    assert [line.split(" | ")[0] for line in lines] == [
        "| system, 1 mixtures",
        "| ---",
        "| noisy input",
        "| denoise-tiny-16k",
    ]
    assert all(len(line.split(" | ")) == 5 for line in lines)
