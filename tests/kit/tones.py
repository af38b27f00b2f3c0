"""Tones as voices, and what recipes say about them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from audiotool.data.config import AudioConfig, DataConfig, MixingConfig
from audiotool.data.dataset import ExampleDataset, make_dataset

RATE = 16000
BUNDLED = Path(__file__).parent.parent / "data" / "audio" / "manifest.csv"
PITCHES = {"anna": 200.0, "bert": 310.0, "carl": 470.0}


def tone(pitch: float, seconds: float, sample_rate: int = RATE) -> np.ndarray:
    """A pulsing sum of three harmonics, peak about 0.6."""
    t = np.arange(round(seconds * sample_rate)) / sample_rate
    voice = sum(np.sin(2 * np.pi * k * pitch * t) / k for k in (1, 2, 3))
    return (0.33 * voice * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * t))).astype(np.float32)


def plain(**changes: Any) -> dict[str, Any]:
    """Mixing without anything left to chance but SNR and level, every key of it."""
    values: dict[str, Any] = {
        "noises": (1, 1),
        "reverberation_probability": 0,
        "noise_only_probability": 0,
        "clean_only_probability": 0,
        "babble_probability": 0,
        "envelope_db": 0,
        "synthetic": {"probability": 0},
    }
    return MixingConfig(**(values | changes)).model_dump()


def data_config(manifest: Path, **changes: Any) -> DataConfig:
    """Speech and noise of one manifest."""
    return DataConfig(**({"speech": [manifest], "noise": [manifest]} | changes))


def dataset(
    manifest: Path,
    example: str = "noisy",
    split: str = "valid",
    audio: dict[str, Any] | None = None,
    **changes: Any,
) -> ExampleDataset:
    """A data set of 20 examples of 1.5 s."""
    config = AudioConfig(**({"segment_seconds": 1.5} | (audio or {})))
    return make_dataset(data_config(manifest, **changes), config, example, split, 20)  # type: ignore[arg-type]


def islands(waveform: torch.Tensor) -> list[tuple[int, int]]:
    """Begin and end of every stretch that sounds; a zero crossing ends none."""
    sounds = np.flatnonzero(waveform.abs().numpy() > 1e-6)
    cuts = np.flatnonzero(np.diff(sounds) > 0.05 * RATE)
    begins, ends = [0, *(cuts + 1)], [*cuts, len(sounds) - 1]
    return [(int(sounds[b]), int(sounds[e])) for b, e in zip(begins, ends, strict=True)]
