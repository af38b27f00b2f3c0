"""The outputs of one input: their places and their format. Batches are planned with it, so it is light."""

from __future__ import annotations

import numbers
from dataclasses import dataclass
from pathlib import Path

from audiotool.audio import PIPE
from audiotool.errors import InputError
from audiotool.paths import as_path, is_url
from audiotool.value_types import quote

BACKGROUND = "background"
"""The stem that is the input minus all others."""


@dataclass(frozen=True, slots=True)
class Target:
    """Paths and format of the outputs of one input.

    Args:
        stems: one path for each of the model's stems, or "-"; in a plan also a URL of an object store.
        residual: path (or URL) for input minus output, or None.
        format: the user's option; None is that of the name.
        subtype: the user's option; None is the input's, else the one of the format that loses least.
        bitrate: kbit/s of an MP3, Opus or AAC; None is the encoder's usual one.
    Raises:
        InputError: a value is of another type.
    """

    stems: tuple[str | Path, ...]
    residual: str | Path | None = None
    format: str | None = None
    subtype: str | None = None
    bitrate: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.stems, tuple | list):
            raise InputError(f"stems are a tuple of paths, one of each stem, got {quote(self.stems)}")
        object.__setattr__(self, "stems", tuple(map(as_path, self.stems)))
        if self.residual is not None:
            object.__setattr__(self, "residual", as_path(self.residual))
        check_names(self.format, self.subtype)
        is_number = isinstance(self.bitrate, numbers.Real) and not isinstance(self.bitrate, bool)
        if self.bitrate is not None and not is_number:
            raise InputError(f"a bitrate is a number of kbit/s, got {quote(self.bitrate)}")

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


def check_names(format: object, subtype: object) -> None:
    """Check the types of what a user asks of an output; None asks for nothing.

    Raises:
        InputError: one is no name.
    """
    for what, value in (("format", format), ("subtype", subtype)):
        if value is not None and not isinstance(value, str):
            raise InputError(f"a {what} is a str, got {quote(value)}")
