"""Export a run as a checkpoint with metadata on how it was made."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any, get_args

import torch
from lightning_fabric import Fabric

from audiotool import checkpoint
from audiotool.data import sources
from audiotool.data.config import DataConfig, Kind, Split
from audiotool.models.base import Model
from audiotool.models.layers.weight_norm import fold_weights
from audiotool.recipe.schema import Recipe
from audiotool.training.history import History, joined_sources


def make_metadata(
    recipe: Recipe,
    model: Model,
    trail: list[dict[str, Any]],
    history: History | None,
    facts: dict[str, Any],
    metrics: dict[str, float],
) -> checkpoint.Metadata:
    """Return the metadata of a checkpoint.

    Args:
        trail: sources and licences of the data, see `data_sources`.
        history: None for a model that began with random weights.
        facts: facts of the training, see `training_facts`.
        metrics: metrics of the validation; empty while they are being computed.
    """
    return checkpoint.Metadata(
        task=recipe.task,
        model=describe_for_use(model),
        sample_rate=model.sample_rate,
        recipe=without_places(recipe.plain()),
        licence=recipe.licence if history is None else history.licence_with(recipe.licence),
        sources=trail,
        metrics={"valid": metrics} if metrics else {},
        training=facts,
        notes=recipe.description,
    )


def describe_for_use(model: Model) -> dict[str, Any]:
    """Return `checkpoint.describe_model` with weight norm off, because it is folded into exported tensors."""
    described = checkpoint.describe_model(model)
    if described["config"].get("weight_norm"):
        described["config"]["weight_norm"] = False
    return described


def tensors_for_use(model: Model, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the model's trained tensors with weight norm folded into the weights; outputs do not change."""
    return fold_weights(tensors) if getattr(model.config, "weight_norm", False) else tensors


def without_places(plain: dict[str, Any]) -> dict[str, Any]:
    """Return a plain recipe without the folders of the machine on which it was trained."""
    data, init = dict(plain["data"]), dict(plain["init"])
    data |= {"root": None, "cache": None}
    data |= {key: [_place_free(path) for path in data[key]] for key in get_args(Kind)}
    if init["checkpoint"] is not None:
        init["checkpoint"] = _place_free(init["checkpoint"])
    return plain | {"data": data, "init": init}


def _place_free(path: str) -> str:
    return Path(path).name if Path(path).is_absolute() else path


def data_sources(recipe: Recipe, data: DataConfig, history: History | None) -> list[dict[str, Any]]:
    """Return names and licences of all data of the training and validation, earlier trainings included.

    Args:
        recipe: of the training.
        data: the recipe's data, located.
        history: None for a model that began with random weights.
    """
    splits: list[Split] = ["train", "valid"] if recipe.validation.count else ["train"]
    found = sources(data, recipe.audio, splits)
    return found if history is None else joined_sources(history.sources, found)


def training_facts(
    recipe: Recipe, fabric: Fabric, step: int, examples: int, seconds: float, history: History | None
) -> dict[str, Any]:
    """Return steps, hours of audio, time and machine; "before" has those of earlier trainings.

    Args:
        examples: number of examples so far, of all processes.
        seconds: time of training, without interruptions.
        history: None for a model that began with random weights.
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
        # A plain string can be saved in states.
        "torch": str(torch.__version__),
        **({} if history is None else {"before": history.training}),
    }
