"""The interface of progress callbacks."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, "int | None"], None]
"""Function that is called with (done, total): samples of a recording, or files of a folder. total is None if
it is not known, and rough where a recording's header has no exact length, as in Matroska."""

ArrayProgress = Callable[[int, int], None]
"""A `Progress` whose total is known."""
