"""Turn a run into a checkpoint that says how it was made."""

from __future__ import annotations

import platform
from typing import Any

import torch
from lightning_fabric import Fabric

from audiotool import checkpoint
from audiotool.data import sources
from audiotool.models.base import Model
from audiotool.recipe.schema import Recipe

PRIVATE = ("root", "cache")
"""Keys of `data` that tell of this machine alone."""


def make_metadata(
    recipe: Recipe,
    model: Model,
    trail: list[dict[str, Any]],
    facts: dict[str, Any],
    metrics: dict[str, float],
) -> checkpoint.Metadata:
    """All that a checkpoint says of itself.

    Args:
        trail: the data's sources and licences, see `data_sources`.
        facts: of the training, see `training_facts`.
        metrics: of the validation, empty while they are being computed.
    """
    plain = recipe.plain()
    plain["data"] |= dict.fromkeys(PRIVATE)
    return checkpoint.Metadata(
        task=recipe.task,
        model=checkpoint.describe_model(model),
        sample_rate=model.sample_rate,
        recipe=plain,
        licence=recipe.licence,
        sources=trail,
        metrics={"valid": metrics} if metrics else {},
        training=facts,
        notes=recipe.description,
    )


def data_sources(recipe: Recipe) -> list[dict[str, Any]]:
    """Names and licences of everything in the manifests."""
    data = recipe.data
    return sources([*data.speech, *data.noise, *data.rir, *data.pairs])


def training_facts(
    recipe: Recipe, fabric: Fabric, step: int, examples: int, seconds: float
) -> dict[str, Any]:
    """Steps, audio seen, time and machine.

    Args:
        examples: that were seen, all processes together.
        seconds: spent training, interruptions not counted.
    """
    length, device = recipe.audio.segment_seconds, fabric.device
    return {
        "steps": step,
        "examples": examples,
        "hours_of_audio": None if length is None else round(examples * length / 3600, 3),
        "hours": round(seconds / 3600, 3),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "processes": fabric.world_size,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "torch": torch.__version__,
    }
