"""The outputs of one input: their places and their format. Batches are planned with it, so it is light."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from audiotool.audio import PIPE
from audiotool.paths import is_url

BACKGROUND = "background"
"""The stem that is the input minus all others."""


class Target(NamedTuple):
    """Paths and format of the outputs of one input.

    Attributes:
        stems: one path for each of the model's stems, or "-"; in a plan also a URL of an object store.
        residual: path (or URL) for input minus output, or None.
        format: the user's option; None is that of the name.
        subtype: the user's option; None is the input's, else the one of the format that loses least.
        bitrate: kbit/s of an MP3, Opus or AAC; None is the encoder's usual one.
    """

    stems: tuple[str | Path, ...]
    residual: str | Path | None = None
    format: str | None = None
    subtype: str | None = None
    bitrate: float | None = None

    @property
    def paths(self) -> list[Path]:
        """All files that are written, without standard output and object stores."""
        files = (p for p in self._everything if str(p) != PIPE and not is_url(p))
        return [p if isinstance(p, Path) else Path(p) for p in files]

    @property
    def places(self) -> list[str]:
        """All outputs, standard output as "-"."""
        return list(map(str, self._everything))

    @property
    def _everything(self) -> tuple[str | Path, ...]:
        return self.stems if self.residual is None else (*self.stems, self.residual)
