"""What models are trained on: manifests, mixing on the fly, augmentation, datasets."""

from audiotool.extras import require_extra

# Told before anything else of the extra is missed.
require_extra("train", "training data")

from audiotool.data.manifest import sources  # noqa: E402

__all__ = ["sources"]
