"""Long WAV files: a WAV holds 4 GiB; longer ones are written as RF64, which has sizes of 64 bits, under the
same ending.

Reference: EBU Tech 3306, RF64: An extended file format for audio data, section 4.
"""

from __future__ import annotations

import io
import struct
from typing import BinaryIO

from audiotool.audio.formats import SAMPLE_BYTES
from audiotool.audio.unclosed import read_wav_header
from audiotool.errors import InputError

WAV_BYTES = (1 << 32) - (1 << 20)
"""Number of bytes that fits sizes of 32 bits, headers included."""

CHUNK_HEAD = 8
"""Number of bytes before a chunk's body."""

PCM = b"\1\0"
"""Format tag of integer samples."""


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


def make_wav(file: BinaryIO, more: int = 0, has_speakers: bool = False) -> None:
    """Convert an RF64 file to a WAV, in place, if that holds it; the samples are not moved.

    Args:
        more: number of bytes that will be appended.
        has_speakers: whether the format stays extensible, to name the speakers of the channels; else it
            becomes the plain one, which more programs read.
    """
    size = file.seek(0, io.SEEK_END)
    if size + more >= WAV_BYTES:
        return
    file.seek(12)
    header = read_wav_header(file)
    begin, data_bytes = file.tell(), header.size if header.is_known else 0
    if not has_speakers:
        frames = data_bytes // header.frame_bytes
        rest = [chunk for chunk in header.chunks if chunk[0] not in (b"fmt ", b"fact")]
        header = header._replace(chunks=[*_plain_format(header.fmt, frames), *rest])
    room = begin - len(header.bytes_for(data_bytes)) - CHUNK_HEAD
    header = header._replace(chunks=[*header.chunks, (b"JUNK", bytes(room))])
    file.seek(0)
    file.write(header.bytes_for(data_bytes))
    file.seek(4)
    file.write(struct.pack("<I", size - 8))


def _plain_format(fmt: bytes, frames: int) -> list[tuple[bytes, bytes]]:
    """Return the chunks of a plain format from the body of an extensible one, whose tag begins its GUID.

    Args:
        frames: samples a channel, which encodings other than PCM name.
    """
    tag = fmt[24:26]
    if tag == PCM:
        return [(b"fmt ", tag + fmt[2:16])]
    return [(b"fmt ", tag + fmt[2:16] + bytes(2)), (b"fact", struct.pack("<I", frames))]
