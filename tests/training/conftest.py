"""A tiny training on the bundled recordings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

AUDIO = Path(__file__).parents[1] / "data" / "audio"


@pytest.fixture(scope="session")
def decoded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of decoded audio, made once for all trainings."""
    return tmp_path_factory.mktemp("decoded")


@pytest.fixture
def tiny_recipe(decoded: Path) -> dict[str, Any]:
    """Plain values of a recipe that takes milliseconds a step."""
    return {
        "name": "tiny",
        "task": "denoise",
        "model": {
            "name": "cleanunet",
            "config": {
                "channels_h": 4,
                "max_channels": 8,
                "n_layers": 3,
                "kernel_size": 8,
                "stride": 4,
                "transformer_layers": 1,
                "transformer_heads": 2,
                "transformer_dim": 16,
                "transformer_inner_dim": 32,
                "normalise": "running",
            },
        },
        "audio": {"sample_rate": 16000, "segment_seconds": 0.25},
        "data": {
            "root": str(AUDIO),
            "cache": str(decoded),
            "speech": ["manifest.csv"],
            "noise": ["manifest.csv"],
            "workers": 0,
            "mixing": {"reverberation_probability": 0},
        },
        "loss": [{"name": "l1-waveform", "weight": 10.0}],
        "optimiser": {"name": "adamw", "lr": 1e-3},
        "train": {"steps": 6, "batch_size": 2, "clip": 5.0, "ema": 0.9},
        "validation": {"every": 3, "count": 2, "metrics": [], "metric": "loss", "samples": 0},
        "logging": {"every": 1, "tensorboard": False},
        "checkpointing": {"every": 2, "keep": 2},
    }


@pytest.fixture
def write_recipe(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """Write plain values as a recipe file."""

    def write(values: dict[str, Any]) -> Path:
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump(values))
        return path

    return write
