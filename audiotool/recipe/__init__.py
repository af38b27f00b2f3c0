"""Recipes: one YAML document that defines a training, validated before anything starts."""

from audiotool.extras import require_extra

# The error names the extra before one of its packages is imported.
require_extra("train", "a recipe")

from audiotool.named_recipes import bundled as shipped  # noqa: E402
from audiotool.named_recipes import find  # noqa: E402
from audiotool.recipe.load import load, parse  # noqa: E402
from audiotool.recipe.schema import Recipe  # noqa: E402

__all__ = ["Recipe", "find", "load", "parse", "shipped"]
