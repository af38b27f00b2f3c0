"""Recipes by name or path, as they are written or as a checkpoint holds them.

`audiotool.recipe` checks them, with the extra `train`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from audiotool.checkpoint import read_metadata
from audiotool.documents import DocumentError, read_text
from audiotool.errors import RecipeError
from audiotool.named_checkpoints import bundled_root, named
from audiotool.text import nearest
from audiotool.value_types import quote
from audiotool.yaml_documents import parse_value, yaml_text

CHECKPOINT = ".safetensors"
"""Ending of the files that hold the recipe of their training."""


def bundled() -> dict[str, Path]:
    """Return the paths of the bundled recipes by name, sorted."""
    return dict(sorted((p.stem, p) for p in bundled_root("recipes").glob("*/*.yaml")))


def find(name_or_path: str | Path) -> Path:
    """Return the path of a bundled recipe by its name, or of a file: a recipe or a checkpoint.

    NAME.safetensors is also the named checkpoint of that name.

    Raises:
        RecipeError: neither exists; the nearest bundled name is given.
    """
    known = bundled()
    if str(name_or_path) in known:
        return known[str(name_or_path)]
    path = Path(name_or_path)
    if path.is_file():
        return path
    checkpoints = {f"{name}{CHECKPOINT}": place for name, place in named().items()}
    if str(name_or_path) in checkpoints:
        return checkpoints[str(name_or_path)]
    hint, names = nearest(str(name_or_path), list(known)), ", ".join(known) or "none"
    raise RecipeError(f"no recipe '{name_or_path}': it is neither a file nor bundled{hint} Bundled: {names}.")


def text_of(path: Path) -> str:
    """Return the text of a recipe; of a checkpoint, the one with which it was trained, all defaults included.

    Raises:
        RecipeError: the file cannot be read, is not UTF-8, or is too long; or the checkpoint has no recipe.
        CheckpointError: the checkpoint cannot be read.
    """
    if path.suffix == CHECKPOINT:
        recipe = read_metadata(path).recipe
        if not recipe:
            raise RecipeError(f"{path}: holds no recipe: its weights were imported")
        return yaml_text(recipe)
    try:
        return read_text(path)
    except DocumentError as error:
        raise RecipeError(f"{path}: cannot be read: {error}") from error


def values_of(path: Path) -> dict[str, Any]:
    """Return the values of a recipe, `name` among them.

    Raises:
        RecipeError: as `text_of`, or it is not YAML, or no mapping.
        CheckpointError: as `text_of`.
    """
    values = parse_value(text_of(path), str(path))
    if not isinstance(values, dict):
        raise RecipeError(f"{path}: a recipe is a mapping of keys, found {quote(values)}")
    return {"name": path.stem} | values
