"""Read a file from its beginning to its end with libsndfile."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from audiotool.audio.extras import Extras, read_extras
from audiotool.signals import deferred
from audiotool.stdio import silent_libraries


class ForwardFile(soundfile.SoundFile):  # type: ignore[misc]
    """A file as libsndfile reads it, which does not seek between two blocks. Signals wait for a call to end.

    soundfile seeks after every block of a file that can seek. That fails for a FLAC of unknown length, or
    with frame numbers that do not begin at 0.

    Args:
        file: open for reading, at its beginning; it can seek.
        form: format of bare samples, in libsndfile's words; empty for a file with a header.
    Attributes:
        warnings: remarks for the user.
    """

    has_video = False

    def __init__(self, file: Any, form: Mapping[str, Any] = MappingProxyType({})) -> None:
        self.warnings: list[str] = []
        with deferred(), silent_libraries():
            super().__init__(file, **form)

    def seekable(self) -> bool:
        return False

    def seek(self, frames: int) -> None:
        with deferred(), self._silence():
            super().seek(frames)

    def read(self, frames: int) -> NDArray[np.float32]:
        with deferred(), self._silence():
            block: NDArray[np.float32] = super().read(frames, dtype="float32", always_2d=True)
        return block

    def _silence(self) -> contextlib.AbstractContextManager[None]:
        # The decoder of MP3 (libmpg123) writes to standard error, after a seek in a sound file, too.
        is_mp3 = self.subtype.startswith("MPEG_LAYER")
        return silent_libraries() if is_mp3 else contextlib.nullcontext()

    @property
    def extras(self) -> Extras:
        """The contents of the file beside its samples."""
        return read_extras(self.name, self.format)

    def remarks(self) -> list[str]:
        """Return no remarks for the user: all are known from the header."""
        return []
