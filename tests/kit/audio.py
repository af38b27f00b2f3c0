"""Synthetic speech, for tests that need some audio."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from audiotool.audio.pipe_writer import wav_header


def speech_like(seconds: float, sample_rate: int, channels: int = 1, seed: int = 0) -> NDArray[np.float32]:
    """(channels, time): a harmonic tone that glides and pulses, in a little noise; peak about 0.5."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * sample_rate)) / sample_rate
    rows = []
    for channel in range(channels):
        pitch = 120 + 20 * channel + 30 * np.sin(2 * np.pi * 0.7 * t)
        phase = 2 * np.pi * np.cumsum(pitch) / sample_rate
        voiced = np.sum([np.sin(k * phase) / k for k in range(1, 20) if k * 200 < sample_rate / 2], axis=0)
        envelope = 0.5 + 0.5 * np.sin(2 * np.pi * 3 * t + channel)
        rows.append(0.2 * voiced * envelope + 0.01 * rng.standard_normal(len(t)))
    return np.stack(rows).astype(np.float32)


def write_speech(
    path: Path, seconds: float = 0.5, sample_rate: int = 16000, channels: int = 1, **form: str
) -> Path:
    """Write synthetic speech to a file; `form` is soundfile's format and subtype."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(str(path), speech_like(seconds, sample_rate, channels).T, sample_rate, **form)
    return path


def write_endless(path: Path) -> Path:
    """Write thirty hours, which nothing finishes: a second of speech, and silence that takes no disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = 30 * 3600 * 16000
    header = wav_header(16000, 1, "PCM_16", frames)
    with path.open("wb") as file:
        file.write(header + (speech_like(1.0, 16000)[0] * 32767).astype("<i2").tobytes())
        file.truncate(len(header) + 2 * frames)
    return path
