"""Synthetic speech and a tiny denoiser, for tests that need some audio and some model."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from audiotool import checkpoint
from audiotool.models.base import Model
from audiotool.models.cleanunet import CleanUNet, CleanUNetConfig

TINY = CleanUNetConfig(
    channels_h=4,
    max_channels=8,
    n_layers=4,
    kernel_size=8,
    stride=4,
    transformer_layers=1,
    transformer_heads=2,
    transformer_dim=16,
    transformer_inner_dim=32,
    normalise="running",
)


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


def save_tiny(path: Path, **changes: object) -> Path:
    """Write a tiny CleanUNet with random weights as a checkpoint."""
    config = dataclasses.replace(TINY, **changes)  # type: ignore[arg-type]
    torch.manual_seed(0)
    return save_model(path, CleanUNet(config), "denoise")


def save_model(path: Path, model: Model, task: str) -> Path:
    """Write a model as a checkpoint of a task."""
    metadata = checkpoint.Metadata(task, checkpoint.describe_model(model), model.sample_rate)
    checkpoint.save(path, model.state_dict(), metadata)
    return path
