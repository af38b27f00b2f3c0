"""Fixtures that many tests share: threads, synthetic speech, a tiny denoiser."""

from __future__ import annotations

import os
from pathlib import Path

# Workers of pytest-xdist share the cores; so do the child processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch

from audiotool import checkpoint
from audiotool.models.cleanunet import CleanUNet, CleanUNetConfig

torch.set_num_threads(1)

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


def speech_like(seconds: float, sample_rate: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    """(channels, time) float32: a harmonic tone that glides and pulses, in a little noise; peak about 0.5."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * sample_rate)) / sample_rate
    rows = []
    for channel in range(channels):
        pitch = 120 + 20 * channel + 30 * np.sin(2 * np.pi * 0.7 * t)
        phase = 2 * np.pi * np.cumsum(pitch) / sample_rate
        voiced = sum(np.sin(k * phase) / k for k in range(1, 20) if k * 200 < sample_rate / 2)
        envelope = 0.5 + 0.5 * np.sin(2 * np.pi * 3 * t + channel)
        rows.append(0.2 * voiced * envelope + 0.01 * rng.standard_normal(len(t)))
    return np.stack(rows).astype(np.float32)


def save_tiny(path: Path, **changes: object) -> Path:
    """Write a tiny CleanUNet with random weights as a checkpoint."""
    config = CleanUNetConfig(**{**TINY.__dict__, **changes})  # type: ignore[arg-type]
    torch.manual_seed(0)
    model = CleanUNet(config).eval()
    metadata = checkpoint.Metadata("denoise", checkpoint.describe_model(model), config.sample_rate)
    checkpoint.save(path, model.state_dict(), metadata)
    return path


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CleanUNet of a few thousand weights, not trained, causal, of running level."""
    return save_tiny(tmp_path_factory.mktemp("checkpoints") / "tiny.safetensors")


@pytest.fixture(scope="session")
def tiny_utterance_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with the published whole-utterance level."""
    path = tmp_path_factory.mktemp("checkpoints") / "tiny-utterance.safetensors"
    return save_tiny(path, normalise="utterance")
