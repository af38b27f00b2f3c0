"""Open the writer of an output: a file, or standard output."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from audiotool.audio import PIPE
from audiotool.audio.writer import FileWriter, OutputFormat, Writer

if TYPE_CHECKING:
    from audiotool.audio.raw import Raw


def open_writer(path: str | Path, wanted: OutputFormat, raw: Raw | None = None) -> Writer:
    """Return a FileWriter, or for "-" a PipeWriter.

    Args:
        wanted: format of the output.
        raw: format of bare samples for standard output; None is WAV.
    Raises:
        InputError: as these writers.
    """
    if str(path) != PIPE:
        return FileWriter(path, wanted)
    from audiotool.audio.pipe_writer import PipeWriter

    return PipeWriter(wanted, raw)
