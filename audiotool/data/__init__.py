"""What models are trained on: manifests, mixing on the fly, augmentation, datasets."""

from audiotool.data.manifest import sources

__all__ = ["sources"]
