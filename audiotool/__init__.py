"""audiotool: speech enhancement and vocoding."""

from audiotool.version import __version__

__all__ = ["__version__"]
