"""Long WAV files: a WAV holds 4 GiB; longer ones are written as RF64, which has sizes of 64 bits, under the
same ending.

Reference: EBU Tech 3306, RF64: An extended file format for audio data, section 4.
"""

from __future__ import annotations

import io
import struct
from typing import BinaryIO

from audiotool.audio.formats import SAMPLE_BYTES
from audiotool.errors import InputError

WAV_BYTES = (1 << 32) - (1 << 20)
"""Number of bytes that fits sizes of 32 bits, headers included."""


def container_for(format_name: str, subtype: str, channels: int, frames: int | None, beside: int = 0) -> str:
    """Return libsndfile's name of the container: the format's own, or RF64 if the file may outgrow a WAV.

    Args:
        frames: samples a channel, None when not known.
        beside: number of bytes beside the samples.
    Raises:
        InputError: another format with 32-bit sizes cannot hold so many.
    """
    width = SAMPLE_BYTES.get(subtype)
    if not width or format_name not in ("WAV", "AIFF", "AU"):
        return format_name
    fits = frames is not None and frames * channels * width + beside < WAV_BYTES
    if fits or (frames is None and format_name != "WAV"):
        return format_name
    if format_name != "WAV":
        raise InputError(f"{format_name} holds 4 GiB, which is not enough: choose .wav, .w64, .caf or .flac")
    return "RF64"


def make_wav(file: BinaryIO, more: int = 0) -> None:
    """Convert an RF64 file to a WAV, in place, if that holds it; the samples are not moved.

    Args:
        more: number of bytes that will be appended.
    """
    size = file.seek(0, io.SEEK_END)
    if size + more >= WAV_BYTES:
        return
    file.seek(0)
    file.write(b"RIFF" + struct.pack("<I", size - 8))
    file.seek(12)
    data_bytes = 0
    while len(head := file.read(8)) == 8:
        name, length = struct.unpack("<4sI", head)
        begin = file.tell()
        if name == b"ds64":
            data_bytes = struct.unpack("<QQ", file.read(16))[1]
            file.seek(begin - 8)
            file.write(b"JUNK")
        elif name == b"data":
            file.seek(begin - 4)
            file.write(struct.pack("<I", data_bytes))
            return
        file.seek(begin + length + length % 2)
