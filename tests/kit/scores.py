"""What tests of scores share: recordings in files, noisy copies of them, pairs and their scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from audiotool.metrics.base import METRICS, Pair
from audiotool.metrics.pairing import FilePair
from audiotool.metrics.rows import Row
from audiotool.metrics.score_files import score_stems
from kit.audio import speech_like

RATE = 16000
FAST = ["stoi", "si_sdr"]


def write(path: Path, waveform: np.ndarray, sample_rate: int = RATE) -> Path:
    """Write a waveform (channels, time) to a file, to WAV without rounding."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, waveform.T, sample_rate, subtype="FLOAT" if path.suffix == ".wav" else None)
    return path


def score_pair(files: FilePair, metrics: list[str]) -> Row:
    """Return the row of two files."""
    return score_stems([files], metrics)[0]


def noisy(clean: np.ndarray, amount: float = 0.05) -> np.ndarray:
    """Return a waveform in white noise of this RMS level."""
    return clean + amount * np.random.default_rng(0).standard_normal(clean.shape).astype(np.float32)


def noisy_pair(seconds: float = 3.0, sample_rate: int = RATE, noise: float = 0.05) -> Pair:
    """Return synthetic speech, and itself in white noise of this RMS level."""
    clean = speech_like(seconds, sample_rate)[0].astype(np.float64)
    return Pair(clean, clean + noise * np.random.default_rng(1).standard_normal(len(clean)), sample_rate)


def measure(name: str, pair: Pair) -> float:
    """Return the number that a metric has of a pair."""
    return METRICS.get(name)().measure(pair)
