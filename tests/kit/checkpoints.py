"""A tiny denoiser and its checkpoint, for tests that need some model."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from audiotool import checkpoint
from audiotool.models.base import Model
from audiotool.models.cleanunet import CleanUNet, CleanUNetConfig
from audiotool.models.registry import MODELS

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


def save_random(folder: Path, name: str, **config: object) -> Path:
    """Write a small model of an architecture, no layer of which does nothing, as new ones may."""
    model = MODELS.get(name).from_config({**MODELS.get(name).small, **config})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-0.3, 0.3)
    return save_model(folder / f"{name}.safetensors", model, "denoise")
