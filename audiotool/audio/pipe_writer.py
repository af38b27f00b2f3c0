"""Write WAV or bare samples into a pipe, in blocks."""

from __future__ import annotations

import struct
from typing import BinaryIO

from audiotool.audio import speakers
from audiotool.audio.embed import chunks
from audiotool.audio.extras import Extras
from audiotool.audio.formats import subtype_for
from audiotool.audio.levels import FloatBlock
from audiotool.audio.raw import ENCODINGS, WIDTHS, Raw
from audiotool.audio.writer import OutputFormat, Writer
from audiotool.errors import InputError
from audiotool.stdio import as_input_error, standard_output

FORMAT_TAGS = {"FLOAT": 3, "DOUBLE": 3, "ALAW": 6, "ULAW": 7}
"""WAV's tags of the sample formats in `audio.raw` that are not PCM, whose tag is 1."""


class PipeWriter(Writer):
    """Writes WAV, or bare samples, to standard output, which need not seek.

    Args:
        wanted: format of the output; a WAV gets the extras that a WAV holds, before its samples, and of tags
            those that are in them.
        raw: format of bare samples; None writes WAV.
        stdout: the stream; the process's standard output by default.
    Raises:
        InputError: the output is a terminal, or as `check_coding`.
    """

    def __init__(self, wanted: OutputFormat, raw: Raw | None = None, stdout: BinaryIO | None = None) -> None:
        super().__init__()
        self.name = "standard output"
        self._stream: BinaryIO = standard_output() if stdout is None else stdout
        if self._stream.isatty():
            raise InputError("standard output is a terminal: redirect it, or give -o FILE")
        check_coding(wanted.asked_format, wanted.asked_subtype)
        of_file = subtype_for("WAV", ".wav", wanted.subtype, wanted.asked_subtype)
        self.subtype = of_file if of_file in ENCODINGS else "PCM_16"
        self._raw = raw or Raw(ENCODINGS[self.subtype], wanted.sample_rate, wanted.channels)
        self._padding = b""
        if raw is not None:
            self.subtype = raw.subtype
            self.dropped = [*wanted.extras.names(), *wanted.tags]
            return
        self.recoded = wanted.recoding("WAV", of_file)
        if self.subtype != of_file:
            self.recoded = f"{of_file} cannot be streamed: {self.subtype} is written"
        parts, lost = wanted.extras.split("WAV", wanted.channels)
        missing = Extras(parts=tuple(parts)).missing(wanted.tags)
        self.dropped = [*lost, *speakers.lost(wanted.extras.mask, wanted.channels), *missing]
        if wanted.frames is not None:
            # A RIFF chunk of odd length is followed by a byte that its length does not count.
            self._padding = bytes(wanted.frames * wanted.channels * WIDTHS[self.subtype] % 2)
        form = (wanted.sample_rate, wanted.channels, self.subtype, wanted.frames)
        self._send(wav_header(*form, chunks(parts)))

    def _put(self, block: FloatBlock) -> None:
        data, beyond = self._raw.encode(block)
        self.limited += beyond
        self._send(data)

    def _send(self, data: bytes) -> None:
        with as_input_error():
            self._stream.write(data)
            self._stream.flush()

    def _finish(self) -> None:
        """Do nothing: everything has been written."""

    def commit(self) -> None:
        """Write the byte that pads an odd length."""
        if self._padding:
            self._send(self._padding)

    def close(self) -> None:
        """Do nothing: standard output stays open."""


def check_coding(asked_format: str | None, asked_subtype: str | None) -> None:
    """Check the format and the sample format that a user asks of standard output; None asks for nothing.

    Raises:
        InputError: the format is not WAV, or the sample format has no samples of a fixed size.
    """
    if asked_format is not None and asked_format.upper() != "WAV":
        raise InputError(f"standard output takes WAV, not {asked_format}: write a file instead")
    if asked_subtype is not None and asked_subtype.upper() not in ENCODINGS:
        raise InputError(f"standard output takes {', '.join(ENCODINGS)}, not '{asked_subtype}'")


def wav_header(
    sample_rate: int, channels: int, subtype: str, frames: int | None, chunks: bytes = b""
) -> bytes:
    """Return a WAV header; an unknown or too great length in bytes becomes 0xFFFFFFFF, as of other programs.

    Args:
        sample_rate: Hz.
        frames: samples a channel; None is unknown.
        chunks: whole chunks that stand before the samples.
    """
    width = WIDTHS[subtype]
    block = width * channels
    is_known = frames is not None and frames * block <= 0xFFFFFF00 - len(chunks)
    size = (frames or 0) * block if is_known else 0xFFFFFFFF
    tag = FORMAT_TAGS.get(subtype, 1)
    # Readers compute the bytes a second themselves.
    second = min(sample_rate * block, 0xFFFFFFFF)
    fmt = struct.pack("<HHIIHH", tag, channels, sample_rate, second, block, width * 8)
    fact = b""
    if tag != 1:
        # All but PCM have an extension, here of 0 bytes, and the number of samples a channel. FFmpeg takes
        # 0 for unknown, and any other number for true.
        fmt += bytes(2)
        fact = struct.pack("<4sII", b"fact", 4, size // block if is_known else 0)
    head = b"WAVE" + struct.pack("<4sI", b"fmt ", len(fmt)) + fmt + fact + chunks
    head += struct.pack("<4sI", b"data", size)
    return struct.pack("<4sI", b"RIFF", len(head) + size + size % 2 if is_known else 0xFFFFFFFF) + head
