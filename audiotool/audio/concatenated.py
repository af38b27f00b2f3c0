"""Recordings behind another one in the same file or pipe, as of `cat a.wav b.wav`.

The first recording is processed. A warning says that the others are left out, because they would be lost
without a trace: the sizes in the first header end before them.
"""

from __future__ import annotations

import os
import re
import struct
from typing import BinaryIO

FORM = struct.Struct("<4sI4s")
"""The beginning of a RIFF file: its kind, its size, what it holds."""

WAV = re.compile(rb"R(?:IFF|F64).{4}WAVE", re.DOTALL)
"""The first bytes of a WAV: `FORM`."""

AIFF = re.compile(rb"FORM.{4}AIF[FC]", re.DOTALL)
"""The first bytes of an AIFF, whose size has its highest byte first."""

PIECE = 1 << 20
"""Number of bytes that are searched at a time."""


def warning(name: str, kind: str) -> str:
    """Return the warning that another recording of a kind ("WAV") follows the one of a name."""
    return f"{name} goes on with another {kind}, which is left out: give one recording at a time"


def kind_behind(file: BinaryIO) -> str | None:
    """Return "WAV" or "AIFF" if another one lies behind that of a file, else None.

    Args:
        file: open for reading; it can seek, and is left at its beginning.
    """
    file.seek(0)
    start = file.read(28)
    kind, form, order = ("AIFF", AIFF, ">I") if AIFF.match(start) else ("WAV", WAV, "<I")
    found = None
    if form.match(start):
        (size,) = struct.unpack_from(order, start, 4)
        if start[:4] == b"RF64" and start[12:16] == b"ds64" and len(start) == 28:
            (size,) = struct.unpack_from("<Q", start, 20)
        # Programs differ by a byte in how they count padding.
        end = 8 + size - 1
        if end < file.seek(0, os.SEEK_END):
            file.seek(end)
            found = form.search(file.read(FORM.size + 2))
    file.seek(0)
    return kind if found else None


def find_wav(file: BinaryIO, begin: int) -> int | None:
    """Return the position of the first WAV in a file from a position on; None if there is none."""
    file.seek(begin)
    last, position = b"", begin
    while piece := file.read(PIECE):
        found = WAV.search(last + piece)
        if found is not None:
            return position - len(last) + found.start()
        position += len(piece)
        last = (last + piece)[1 - FORM.size :]
    return None
