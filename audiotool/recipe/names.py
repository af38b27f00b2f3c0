"""Check the names and options in a recipe against the classes."""

from __future__ import annotations

from typing import Any

from audiotool.configuration import build_config, constructor_arguments
from audiotool.data.examples.base import EXAMPLES
from audiotool.errors import AudiotoolError, CheckpointError, RecipeError
from audiotool.losses.base import make_loss
from audiotool.metrics.base import METRICS, JointMetric, metric_names
from audiotool.models.base import Model
from audiotool.models.discriminators.base import DISCRIMINATORS
from audiotool.models.registry import MODELS
from audiotool.recipe.schema import Recipe
from audiotool.tasks.base import TASKS, served_by
from audiotool.text import nearest


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
    for n, name in enumerate(recipe.validation.metrics or []):
        for member in _at(source, f"validation.metrics.{n}", metric_names, [name]):
            _at(source, f"validation.metrics.{n}", _check_scored, member, model_class)
    allowed = ["loss", *validated_metrics(recipe)]
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


def validated_metrics(recipe: Recipe) -> list[str]:
    """Return the names of the metrics of a validation: the recipe's, or those of its task.

    Raises:
        InputError: there is no metric and no family of a name.
    """
    named = recipe.validation.metrics
    return metric_names(TASKS.get(recipe.task).scoring.metrics if named is None else named)


def _check_scored(name: str, model_class: type[Model]) -> None:
    """Refuse a metric that no validation of a model has.

    Raises:
        RecipeError: it scores several estimates together, or needs the unprocessed input, which is a mel.
    """
    metric = METRICS.get(name)
    if issubclass(metric, JointMetric):
        raise RecipeError(f"'{name}' rates all stems of a recording together: only `audiotool evaluate` does")
    if metric.uses_interferers and "waveform" not in model_class.takes:
        raise RecipeError(f"'{name}' needs the other signals of the input, which is no waveform here")


def _at(source: str, key: str, call: Any, *arguments: Any) -> Any:
    """Call a function; put the file and the key before the message of its error."""
    try:
        return call(*arguments)
    except AudiotoolError as error:
        raise RecipeError(f"{source}: {key}: {error}") from error
