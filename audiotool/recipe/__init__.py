"""Recipes: one YAML document that says everything about a training, validated before anything starts."""

from audiotool.recipe.load import find, load, parse, parse_settings, shipped
from audiotool.recipe.schema import Recipe

__all__ = ["Recipe", "find", "load", "parse", "parse_settings", "shipped"]
