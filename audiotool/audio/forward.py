"""Read a file from its beginning to its end with libsndfile."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from audiotool.audio import vorbis_order
from audiotool.audio.extract import read_extras
from audiotool.audio.extras import Extras
from audiotool.signals import deferred
from audiotool.stdio import silent_libraries

MP3_SLACK = 2 * 1152
"""Number of samples by which the length in an MP3's header may be wrong."""


class Damaged(Exception):
    """A file that cannot be decoded; the message is the library's."""


class ForwardFile(soundfile.SoundFile):  # type: ignore[misc]
    """A file as libsndfile reads it, which does not seek between two blocks. Signals wait for a call to end.

    soundfile seeks after every block of a file that can seek. That fails for a FLAC of unknown length, or
    with frame numbers that do not begin at 0.

    Args:
        file: open for reading, at its beginning; it can seek.
        form: format of bare samples, in libsndfile's words; empty for a file with a header.
    Attributes:
        warnings: remarks for the user.
        is_media: whether PyAV reads the file, and its pictures can be copied.
        has_video: whether there are moving pictures beside the sound.
        whole: the file with what lies before its samples, where `file` begins behind that.
        tags: those that stand there.
    """

    is_media = has_video = is_cut = False
    stated_frames: int | None = None
    expected_frames: int | None = None

    def __init__(self, file: Any, form: Mapping[str, Any] = MappingProxyType({})) -> None:
        self.warnings: list[str] = []
        self.whole = file
        self.tags: dict[str, str] = {}
        with deferred(), silent_libraries():
            super().__init__(file, **form)
        self._order = vorbis_order.places(self.subtype, self.channels)
        if self._order and self.subtype == "OPUS" and vorbis_order.is_unordered(file):
            self._order = None

    def seekable(self) -> bool:
        return False

    def seek(self, frames: int) -> None:
        with deferred(), self._silence():
            super().seek(frames)

    def read(self, frames: int) -> NDArray[np.float32]:
        """Return the next (n, channels), n <= frames; n is 0 at the end.

        Raises:
            Damaged: the next samples cannot be decoded.
        """
        try:
            with deferred(), self._silence():
                block: NDArray[np.float32] = super().read(frames, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise Damaged(error.error_string) from error
        return vorbis_order.as_wav(block, self._order)

    def _silence(self) -> contextlib.AbstractContextManager[None]:
        # The decoder of MP3 (libmpg123) writes to standard error, after a seek in a sound file, too.
        return silent_libraries() if self._is_mpeg else contextlib.nullcontext()

    @property
    def _is_mpeg(self) -> bool:
        return bool(self.subtype.startswith("MPEG_LAYER"))

    @property
    def slack(self) -> int:
        """Number of samples by which the header may be wrong."""
        return MP3_SLACK if self._is_mpeg else 0

    @property
    def extras(self) -> Extras:
        """The contents of the file beside its samples."""
        return read_extras(self.whole, self.format)

    def copy_metadata(self) -> dict[str, str]:
        """Return the tags by libsndfile's names. Those before the samples come first: behind an MP3, texts of
        more than 30 characters are cut."""
        return {**super().copy_metadata(), **self.tags}

    def remarks(self) -> list[str]:
        """Return no remarks for the user: all are known from the header."""
        return []
