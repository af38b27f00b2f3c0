"""Keys that recipes had before: those of earlier recipes, checkpoints and runs are read under both names."""

from __future__ import annotations

import copy
from typing import Any

from audiotool.errors import RecipeError

FORMER_KEYS = {"train.rehearsed_probability": "train.warm_up_probability"}
"""Key paths of earlier versions, and what they are now."""


def renamed(values: dict[str, Any], source: str) -> dict[str, Any]:
    """A copy of a recipe's plain values with the keys of today.

    Args:
        source: what messages call the recipe.
    Raises:
        RecipeError: a key is there under both names.
    """
    values = copy.deepcopy(values)
    for former, now in FORMER_KEYS.items():
        path, _, key = former.rpartition(".")
        section, new = values.get(path), now.rpartition(".")[2]
        if isinstance(section, dict) and key in section:
            if new in section:
                raise RecipeError(f"{source}: {now} is given twice, {former} is its earlier name: keep one")
            section[new] = section.pop(key)
    return values
