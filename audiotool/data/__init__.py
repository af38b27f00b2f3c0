"""Training data: manifests, mixing on the fly, augmentation, datasets."""

from audiotool.extras import require_extra

# Reports that the extra is missing before one of its packages is imported.
require_extra("train", "training data")

from audiotool.data.rows import sources  # noqa: E402

__all__ = ["sources"]
