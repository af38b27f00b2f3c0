"""A temporary file that holds the pictures and sounds of many rows until the page is written."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple

from audiotool.atomic import cause
from audiotool.errors import InputError
from audiotool.metrics.rows import Row


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

    def keep(self, row: Row) -> Row:
        """Move the pictures and sounds of a row to disk; return the row.

        Raises:
            InputError: the disk is full.
        """
        if row.media is not None:
            clips = [
                replace(clip, picture=self._put(clip.picture), sound=clip.sound and self._put(clip.sound))
                for clip in row.media.clips
            ]
            row.media = replace(row.media, clips=tuple(clips))
        return row

    def _put(self, blob: Blob) -> Place:
        if isinstance(blob, Place):
            return blob
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._existing())  # noqa: SIM115 - see `__exit__`
            self._file.seek(self._size)
            self._file.write(blob)
            self._file.flush()
        except OSError as error:
            raise InputError(f"cannot keep the pictures of the report: {cause(error)}") from error
        place = Place(self._file, self._size, len(blob))
        self._size += len(blob)
        return place

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def _existing(self) -> Path:
        folder = self._folder
        while not folder.is_dir():
            folder = folder.parent
        return folder
