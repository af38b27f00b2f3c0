"""How whatever takes long tells how far it is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, "int | None"], None]
"""Called with (done, in all): samples of a recording or files of a folder; the latter None where unknown."""
