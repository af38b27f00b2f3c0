"""Former keys of recipes: earlier recipes, checkpoints and runs keep loading."""

from __future__ import annotations

import copy
from typing import Any

from audiotool.errors import RecipeError

FORMER_KEYS = {"train.rehearsed_probability": "train.warm_up_probability"}
"""Key path of earlier versions -> key path of today."""


def renamed(values: dict[str, Any], source: str) -> dict[str, Any]:
    """Return a copy of a recipe's plain values with the keys of today.

    Args:
        source: name of the recipe in messages.
    Raises:
        RecipeError: the recipe has a key under both names.
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
