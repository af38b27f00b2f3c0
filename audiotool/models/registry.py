"""Model names and their classes."""

from audiotool.discovery import Catalogue
from audiotool.errors import CheckpointError
from audiotool.models.base import Model

MODELS: Catalogue[Model] = Catalogue("audiotool.models", Model, "model", CheckpointError)
