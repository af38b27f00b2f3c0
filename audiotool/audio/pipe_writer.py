"""Write WAV or bare samples into a pipe, in blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import BinaryIO

from audiotool.audio.extras import Extras
from audiotool.audio.levels import FloatBlock
from audiotool.audio.pipe import PIPE_SUBTYPES, wav_header
from audiotool.audio.raw import ENCODINGS, Raw
from audiotool.audio.writer import Writer
from audiotool.errors import InputError
from audiotool.stdio import standard_output


class PipeWriter(Writer):
    """Writes WAV, or bare samples, to standard output, which need not seek.

    Args:
        raw: format of bare samples; None writes WAV.
        frames: samples a channel, if known; the header of a pipe cannot be corrected later.
        tags, extras: not written.
        stdout: the stream; the process's standard output by default.
    Raises:
        InputError: the output is a terminal, or the subtype is not one of WAV's plain ones.
    """

    def __init__(
        self,
        sample_rate: int,
        channels: int,
        subtype: str = "PCM_16",
        asked_format: str | None = None,
        asked_subtype: str | None = None,
        frames: int | None = None,
        tags: Mapping[str, str] | None = None,
        extras: Extras | None = None,
        stdout: BinaryIO | None = None,
        raw: Raw | None = None,
    ) -> None:
        super().__init__()
        self.name = "standard output"
        self._stream: BinaryIO = standard_output() if stdout is None else stdout
        if self._stream.isatty():
            raise InputError("standard output is a terminal: redirect it, or give -o FILE")
        if asked_format is not None and asked_format.upper() != "WAV":
            raise InputError(f"standard output takes WAV, not {asked_format}: write a file instead")
        if asked_subtype is not None and asked_subtype.upper() not in PIPE_SUBTYPES:
            raise InputError(f"standard output takes {', '.join(PIPE_SUBTYPES)}, not '{asked_subtype}'")
        wanted = asked_subtype.upper() if asked_subtype else subtype
        self.subtype = wanted if wanted in PIPE_SUBTYPES else "PCM_16"
        self.dropped = [*(extras.names() if extras is not None else []), *(tags or {})]
        self._raw = raw or Raw(ENCODINGS[self.subtype], sample_rate, channels)
        if raw is not None:
            self.subtype = raw.subtype
            return
        self._send(wav_header(sample_rate, channels, self.subtype, frames))

    def _put(self, block: FloatBlock) -> None:
        data, beyond = self._raw.encode(block)
        self.limited += beyond
        self._send(data)

    def _send(self, data: bytes) -> None:
        try:
            self._stream.write(data)
            self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise InputError(f"cannot write to standard output: {error.strerror or error}") from error

    def prepare(self) -> None:
        """Do nothing: everything has been written."""

    def commit(self) -> None:
        """Do nothing: everything has been written."""

    def close(self) -> None:
        """Do nothing: standard output stays open."""
