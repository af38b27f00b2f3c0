"""A temporary file that holds the pictures and sounds of many rows until the page is written."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple

from audiotool.metrics.rows import Row
from audiotool.writable import cause

log = logging.getLogger(__name__)


class Place(NamedTuple):
    """The place of bytes in a spool.

    Args:
        file: the open file.
        offset, size: in bytes.
    """

    file: IO[bytes]
    offset: int
    size: int


Blob = bytes | Place


def content(blob: Blob) -> bytes:
    """Return the bytes of a picture or sound, read from the disk if they are in a spool."""
    if isinstance(blob, bytes):
        return blob
    blob.file.seek(blob.offset)
    return blob.file.read(blob.size)


class Spool:
    """An anonymous temporary file, which the system removes when the process ends.

    Args:
        folder: folder of the file; that of the report, since the file may be large.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: Any = None
        self._size = 0
        self._is_full = False

    def keep(self, row: Row) -> Row:
        """Move the pictures and sounds of a row to disk; return the row.

        On a full disk this row and all later ones lose them, which is logged once: outputs and scores are
        worth more, and need the rest of the disk.
        """
        if self._is_full:
            row.media = None
        if row.media is None:
            return row
        begin = self._size
        try:
            clips = [
                replace(clip, picture=self._put(clip.picture), sound=clip.sound and self._put(clip.sound))
                for clip in row.media.clips
            ]
        except OSError as error:
            row.media = None
            self._is_full = True
            self._free_from(begin)
            log.warning("%s and later files are not shown in the page: %s", row.name, cause(error))
        else:
            row.media = replace(row.media, clips=tuple(clips))
        return row

    def _put(self, blob: Blob) -> Place:
        if isinstance(blob, Place):
            return blob
        if self._file is None:
            # What a full disk leaves in a buffer would be written, and fail, at each later use of the file.
            folder = next(place for place in (self._folder, *self._folder.parents) if place.is_dir())
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - see `__exit__`
        self._file.seek(self._size)
        rest = memoryview(blob)
        while rest:
            rest = rest[self._file.write(rest) :]
        place = Place(self._file, self._size, len(blob))
        self._size += len(blob)
        return place

    def _free_from(self, size: int) -> None:
        """Free what lies behind an offset: the part of a row that could be written."""
        self._size = size
        if self._file is not None:
            self._file.truncate(size)

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
