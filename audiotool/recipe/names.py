"""Check the names and options in a recipe against the classes."""

from __future__ import annotations

from typing import Any

from audiotool.configuration import build_config, constructor_arguments
from audiotool.data.examples.base import EXAMPLES
from audiotool.discovery import nearest
from audiotool.errors import AudiotoolError, CheckpointError, RecipeError
from audiotool.losses.base import make_loss
from audiotool.metrics.base import METRICS
from audiotool.models.discriminators.base import DISCRIMINATORS
from audiotool.models.registry import MODELS
from audiotool.recipe.schema import Recipe
from audiotool.tasks.base import TASKS, served_by


def check_names(recipe: Recipe, source: str) -> None:
    """Refuse unknown tasks, models, examples, metrics, losses and options, and models that do not serve the
    task.

    Raises:
        RecipeError: with `source`, the key path and the nearest valid name.
    """
    task = _at(source, "task", TASKS.get, recipe.task)
    model_class = _at(source, "model.name", MODELS.get, recipe.model.name)
    if not task.is_served_by(model_class):
        served = ", ".join(served_by(model_class))
        raise RecipeError(f"{source}: model.name: {recipe.model.name} serves {served}, not {recipe.task}")
    if recipe.data.example is not None:
        _at(source, "data.example", EXAMPLES.get, recipe.data.example)
    try:
        build_config(model_class.config_class, recipe.model.config, "model.config.")
    except CheckpointError as error:
        raise RecipeError(f"{source}: {error}") from error
    metrics = recipe.validation.metrics
    for n, name in enumerate(metrics or []):
        _at(source, f"validation.metrics.{n}", METRICS.get, name)
    allowed = ["loss", *(task.scoring.metrics if metrics is None else metrics)]
    chosen = recipe.validation.metric
    if chosen is not None and chosen not in allowed:
        raise RecipeError(
            f"{source}: validation.metric: found '{chosen}', which is not measured"
            f"{nearest(chosen, allowed)} Allowed: {', '.join(allowed)}"
        )
    if chosen is not None and chosen != "loss" and METRICS.get(chosen).higher_is_better is None:
        raise RecipeError(
            f"{source}: validation.metric: '{chosen}' chooses no checkpoint: more of it is neither better nor"
            " worse"
        )
    discriminators = recipe.adversarial.discriminators if recipe.adversarial else []
    for n, discriminator in enumerate(discriminators):
        key, name = f"adversarial.discriminators.{n}", discriminator.name
        found = _at(source, f"{key}.name", DISCRIMINATORS.get, name)
        _at(source, key, constructor_arguments, found, discriminator.config, name)
    for n, term in enumerate(recipe.loss):
        _at(source, f"loss.{n}", make_loss, term.name, term.options, recipe.audio.sample_rate)


def _at(source: str, key: str, call: Any, *arguments: Any) -> Any:
    """Call a function; put the file and the key before the message of its error."""
    try:
        return call(*arguments)
    except AudiotoolError as error:
        raise RecipeError(f"{source}: {key}: {error}") from error
