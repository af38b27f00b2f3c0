"""Read a recipe: YAML, overrides, schema, names. Errors have the file and the key path."""

from __future__ import annotations

import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn, Union

from pydantic import BaseModel, ValidationError

from audiotool.discovery import is_subclass
from audiotool.errors import RecipeError
from audiotool.named_recipes import find, values_of
from audiotool.recipe.former_keys import FORMER_KEYS, renamed
from audiotool.recipe.names import check_names
from audiotool.recipe.schema import Recipe
from audiotool.text import nearest
from audiotool.value_types import quote
from audiotool.yaml_documents import parse_value

INHERITANCE = "; recipes extend no other: begin with `audiotool recipes show NAME > own.yaml`."


def load(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read and validate a recipe.

    Args:
        name_or_path: a bundled recipe's name, a YAML file, or a checkpoint, for the recipe that it holds.
        overrides: "key.path=value" each, the value read as YAML; list items by number ("loss.0.weight=2").
    Raises:
        RecipeError: no such file, bad YAML, unknown keys, values or names.
        CheckpointError: the checkpoint cannot be read.
    """
    path = find(name_or_path)
    return parse(values_of(path), str(path), overrides)


def parse(values: dict[str, Any], source: str, overrides: Sequence[str] = ()) -> Recipe:
    """Validate plain values as a recipe; `source` is its name in messages.

    Raises:
        RecipeError: as `load`.
    """
    values = renamed(values, source)
    for override in overrides:
        _override(values, override)
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        _refuse(error, source)
    if recipe.audio.segment_seconds is None and recipe.train.batch_size > 1:
        raise RecipeError(
            f"{source}: train.batch_size: found {recipe.train.batch_size}, should be 1 where"
            " audio.segment_seconds is null, as recordings differ in length (train.accumulate makes a step of"
            " several)"
        )
    augmentation = recipe.data.augmentation
    low, high = augmentation.low_pass_hz[0], augmentation.high_pass_hz[1]
    half = recipe.audio.sample_rate / 2
    if augmentation.band_limit_probability and high >= min(low, half):
        raise RecipeError(
            f"{source}: data.augmentation.high_pass_hz: found {high:g}, should be less than the {low:g} at"
            f" which low_pass_hz begins, and than half of audio.sample_rate ({half:g})"
        )
    check_names(recipe, source)
    return recipe


def _override(values: dict[str, Any], override: str) -> None:
    """Apply one "key.path=value"."""
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise RecipeError(f"--set {override}: expected key.path=value, for example train.batch_size=8")
    path, value = FORMER_KEYS.get(path, path), parse_value(text, f"--set {override}")
    if path == "data.root" and isinstance(value, str) and Path(value).expanduser().exists():
        # What is typed starts from the current folder; what a recipe says, from the recipe's.
        value = str(Path(value).expanduser().absolute())
    *parents, last = path.split(".")
    place: Any = values
    for depth, key in enumerate([*parents, last]):
        where = ".".join(path.split(".")[: depth + 1])
        if isinstance(place, list):
            if not key.isdigit() or int(key) >= len(place):
                raise RecipeError(f"--set {override}: {where}: the list has items 0 to {len(place) - 1}")
            index: Any = int(key)
        elif isinstance(place, dict):
            index = key
        else:
            raise RecipeError(f"--set {override}: {where}: '{quote(place)}' has no keys")
        if depth == len(parents):
            place[index] = value
        elif isinstance(place, dict) and place.get(index) is None:
            place[index] = {}
            place = place[index]
        else:
            place = place[index]


def _refuse(error: ValidationError, source: str) -> NoReturn:
    """Raise an error of one line from pydantic's findings: key path, value, allowed values."""
    messages = []
    for finding in error.errors(include_url=False):
        fields, tags, path = _allowed_at(finding["loc"])
        key = str(finding["loc"][-1]) if finding["loc"] else ""
        if finding["type"] == "extra_forbidden":
            hint = INHERITANCE if path == "extends" else nearest(key, fields)
            problem = f"unknown key{hint} Allowed: {', '.join(fields)}"
        elif finding["type"] == "missing":
            problem = "is missing"
        elif finding["type"] == "union_tag_not_found":
            problem = f"found {quote(finding['input'])}, its name is missing. Allowed: {', '.join(tags)}"
        elif finding["type"] in ("model_type", "model_attributes_type"):
            # Pydantic also names the classes that Python code may give.
            problem = f"found {quote(finding['input'])}, should be a valid dictionary"
        else:
            expected = finding["msg"].removeprefix("Value error, ").replace("Input should", "should")
            problem = f"found {quote(finding['input'])}, {expected}"
        messages.append(f"{path or 'recipe'}: {problem}")
    raise RecipeError(f"{source}: {'; '.join(messages)}") from error


def _allowed_at(location: tuple[int | str, ...]) -> tuple[list[str], list[str], str]:
    """Return the keys allowed beside the last one of a pydantic location, the names allowed in it, and its
    path.

    Pydantic puts the tag of a discriminated union into the location ("optimiser", "adam", "lr"). Tags select
    the class and are left out of the path.
    """
    candidates: list[Any] = [Recipe]
    fields: list[str] = []
    shown: list[str] = []
    for part in location:
        sections = [c for c in candidates if is_subclass(c, BaseModel)]
        tagged = [s for s in sections if "name" in s.model_fields and _tag(s) == part]
        if tagged and len(sections) > 1:
            candidates = tagged
            continue
        fields = sorted({name for s in sections for name in s.model_fields})
        shown.append(str(part))
        if isinstance(part, int):
            continue
        found = [s.model_fields[str(part)].annotation for s in sections if part in s.model_fields]
        candidates = [c for annotation in found for c in _members(annotation)] if sections else candidates
    named = [c for c in candidates if is_subclass(c, BaseModel) and "name" in c.model_fields]
    tags = [str(_tag(c)) for c in named]
    return fields, tags, ".".join(shown)


def _tag(section: type[BaseModel]) -> Any:
    values = typing.get_args(section.model_fields["name"].annotation)
    return values[0] if values else None


def _members(annotation: Any) -> list[Any]:
    """Return the classes inside unions, lists and annotations."""
    origin = typing.get_origin(annotation)
    if origin in (Union, types.UnionType, list, tuple):
        return [m for a in typing.get_args(annotation) for m in _members(a)]
    if origin is Annotated:
        return _members(typing.get_args(annotation)[0])
    return [annotation]
