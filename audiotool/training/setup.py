"""Build the parts of a training from its recipe: model, initial weights, frozen parameters."""

from __future__ import annotations

import dataclasses
import json
import logging
import shlex
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from audiotool import checkpoint, named_checkpoints
from audiotool.errors import CheckpointError, RecipeError
from audiotool.models.base import Model
from audiotool.models.layers.weight_norm import fitted_weights
from audiotool.models.registry import MODELS
from audiotool.recipe.schema import InitSection, Recipe
from audiotool.text import nearest
from audiotool.training.history import History

if TYPE_CHECKING:
    from typing_extensions import Self

log = logging.getLogger(__name__)

FITTED = ("weight_norm",)
"""Settings in which a checkpoint's model may differ from the recipe's: weights are fitted to them."""


class TrainingOutputs(nn.Module):
    """A module whose `forward` calls `Model.training_outputs` or `warmed_up_outputs`.

    Processes share gradients in `forward`, and each waits for a gradient of every weight. A batch with a
    warm-up does not use the learned initial state, whose gradient must then be zero and not missing.

    The running statistics of frozen batch norms stay as they are, as their weights do.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for module in self.modules():
            parameters = list(module.parameters())
            if parameters and not any(p.requires_grad for p in parameters):
                # Others stay in training mode: cuDNN's recurrent layers have gradients in no other.
                for part in module.modules():
                    if getattr(part, "running_mean", None) is not None:
                        part.eval()
        return self

    def forward(self, batch: dict[str, Tensor], warmed_up: bool = False) -> dict[str, Tensor]:
        if not warmed_up:
            return self.model.training_outputs(batch)
        outputs = self.model.warmed_up_outputs(batch)
        trained = [p.flatten()[:1] for p in self.model.parameters() if p.requires_grad]
        return outputs | {"estimate": outputs["estimate"] + 0.0 * torch.cat(trained).sum()}


def build_model(recipe: Recipe) -> Model:
    """Build the recipe's model with random weights from the seed, and freeze its parameters.

    Raises:
        RecipeError: the configuration makes no model, or as `prepare`.
    """
    torch.manual_seed(recipe.train.seed)
    try:
        model = MODELS.get(recipe.model.name).from_config(recipe.model.config)
    except CheckpointError as error:
        raise RecipeError(f"model.config: {error}") from error
    prepare(model, recipe)
    return model


def prepare(model: Model, recipe: Recipe) -> None:
    """Freeze parameters of the recipe's model, which may be an outline.

    Raises:
        RecipeError: a pattern of `freeze` matches nothing, the sample rates differ, or the recipe asks for a
            warm-up that the model does not have.
    """
    if model.sample_rate != recipe.audio.sample_rate:
        rate = recipe.audio.sample_rate
        raise RecipeError(f"audio.sample_rate is {rate} Hz, but model.config makes it {model.sample_rate} Hz")
    if recipe.train.warm_up_probability and not model.warm_up_seconds:
        raise RecipeError(f"train.warm_up_probability must be 0: {model.name} has no warm-up")
    freeze(model, recipe.freeze)


def begin_from(model: Model, init: InitSection, is_first: bool = True) -> History | None:
    """Load the weights of another checkpoint, if the recipe names one.

    The checkpoint's model is the recipe's, or one that the recipe's model extends. Settings that differ
    without changing the shape of any weight (a window, a level) are named in a warning.

    Args:
        is_first: whether this process is the one that warns.
    Returns:
        The history of these weights.
    Raises:
        CheckpointError: the checkpoint has another model; or a tensor is missing, unexpected or of another
            shape, and no pattern of `init.skip` matches it.
        RecipeError: a pattern of `init.skip` matches nothing.
    """
    if init.checkpoint is None:
        return None
    path = named_checkpoints.resolve(init.checkpoint)
    other, metadata = checkpoint.load(path)
    if not isinstance(model, type(other)):
        raise CheckpointError(f"{path} holds a {metadata.model['name']}, the recipe trains a {model.name}")
    state = model.state_dict()
    # Weight norm is folded in exported tensors and separate in a model in training.
    initial = fitted_weights(other.state_dict(), state)
    names = list(state.keys() | initial.keys())
    skipped = {name for pattern in init.skip for name in _matching(pattern, names, "init.skip")}
    taken = {key: value for key, value in initial.items() if key not in skipped}
    kept = {key: value for key, value in state.items() if key in skipped}
    differing = _differing(model, other)
    try:
        model.load_weights(taken | kept, source=str(path))
    except CheckpointError as error:
        options = _as_options(differing, model, other)
        same = f" With {options} the recipe's network is the checkpoint's." if differing else ""
        raise CheckpointError(
            f"{error}{same} What is to begin afresh is named by init.skip=[NAME.*]."
        ) from error
    unseen = {
        key: value
        for key, value in differing.items()
        if not _changes_weights(model, key, value)
        and not _changes_weights(other, key, getattr(model.config, key))
    }
    if unseen and is_first:
        log.warning(
            "%s has other settings than the recipe, in which its weights make another network: keep them with"
            " %s",
            path,
            _as_options(unseen, model, other),
        )
    return History.of(path.stem, metadata)


def _differing(model: Model, other: Model) -> dict[str, Any]:
    """Return the settings of `other` in which two models of one class differ, but for `FITTED`.

    A model that extends another has settings of its own: nothing is returned for it.
    """
    if type(model) is not type(other):
        return {}
    ours, theirs = (dataclasses.asdict(m.config) for m in (model, other))
    return {key: value for key, value in theirs.items() if key not in FITTED and ours[key] != value}


def _changes_weights(model: Model, key: str, value: Any) -> bool:
    """Whether the model with another value of a setting has weights of other names or shapes."""
    try:
        changed = model.outline(dataclasses.asdict(model.config) | {key: value})
    except CheckpointError:  # the value does not fit the model's other settings
        return False
    before, after = (
        {name: tensor.shape for name, tensor in m.state_dict().items()} for m in (model, changed)
    )
    return before != after


def _as_options(settings: Mapping[str, Any], model: Model, other: Model) -> str:
    """Return the options of `audiotool train` that give the recipe these settings of `other`."""
    keys = {f"model.config.{key}": value for key, value in settings.items()}
    if model.sample_rate != other.sample_rate:
        keys["audio.sample_rate"] = other.sample_rate
    return " ".join(as_option(key, value) for key, value in keys.items())


def as_option(key: str, value: Any) -> str:
    """Return the option of `audiotool train`, quoted for a shell, that gives a key of the recipe a value."""
    return f"--set {shlex.quote(f'{key}={json.dumps(value)}')}"


def anchored(init: InitSection) -> InitSection:
    """Return the section for any current folder: with an absolute path, unless it has a checkpoint's name."""
    name = init.checkpoint
    if name is None or name in named_checkpoints.named():
        return init
    return init.model_copy(update={"checkpoint": str(Path(name).resolve())})


def freeze(model: Model, patterns: list[str]) -> None:
    """Exclude parameters from training by name pattern (`encoder.*`).

    Raises:
        RecipeError: a pattern matches no parameter, or all parameters are frozen.
    """
    parameters = dict(model.named_parameters())
    for pattern in patterns:
        for name in _matching(pattern, list(parameters), "freeze"):
            parameters[name].requires_grad_(False)
    if not any(p.requires_grad for p in parameters.values()):
        raise RecipeError("freeze: every parameter is frozen, nothing is left to train")


def _matching(pattern: str, names: list[str], key: str) -> list[str]:
    found = [name for name in names if fnmatchcase(name, pattern)]
    if not found:
        raise RecipeError(f"{key}: no parameter fits '{pattern}'{nearest(pattern, names)}")
    return found
