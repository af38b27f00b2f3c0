"""What tests of scores share: recordings in files, noisy copies of them, the row of a pair."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from audiotool.metrics.pairing import FilePair
from audiotool.metrics.rows import Row
from audiotool.metrics.score_files import score_stems

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
