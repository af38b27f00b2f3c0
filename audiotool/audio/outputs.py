"""Open the writer of an output, a file or standard output, and write whole waveforms."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from audiotool.audio import PIPE
from audiotool.audio.formats import muxer_for
from audiotool.audio.levels import FloatBlock
from audiotool.audio.writer import FileWriter, OutputFormat, Writer
from audiotool.errors import InputError

if TYPE_CHECKING:
    from audiotool.audio.raw import Raw

log = logging.getLogger(__name__)


def open_writer(path: str | Path, wanted: OutputFormat, raw: Raw | None = None) -> Writer:
    """Return a FileWriter, a MediaWriter for the formats of PyAV, or for "-" a PipeWriter.

    Args:
        wanted: format of the output.
        raw: format of bare samples for standard output; None is WAV.
    Raises:
        InputError: as these writers.
    """
    if str(path) == PIPE:
        from audiotool.audio.pipe_writer import PipeWriter

        return PipeWriter(wanted, raw)
    if muxer_for(Path(path), wanted.asked_format) is None:
        return FileWriter(path, wanted)
    from audiotool.audio.media_writer import MediaWriter

    return MediaWriter(path, wanted)


def write(
    path: str | Path,
    waveform: FloatBlock,
    sample_rate: int,
    subtype: str = "PCM_16",
    format: str | None = None,
) -> None:
    """Write a whole waveform (time,) or (channels, time), floating point, full scale 1, completely or not at
    all.

    Samples beyond full scale are limited where the subtype cannot hold them, and a warning is logged.

    Raises:
        InputError: as `open_writer`, or the waveform has other axes or is not floating point.
    """
    values = np.asarray(waveform)
    if values.ndim not in (1, 2):
        raise InputError(f"a waveform is (time,) or (channels, time), got {values.ndim} axes")
    if not np.issubdtype(values.dtype, np.floating):
        raise InputError(
            f"a waveform is floating point, got {values.dtype}: divide integers by their full scale"
        )
    block = np.atleast_2d(values).astype(np.float32, copy=False)
    wanted = OutputFormat(sample_rate, block.shape[0], subtype, format, frames=block.shape[1])
    with open_writer(path, wanted) as writer:
        writer.write(block.T)
    if writer.limited:
        log.warning(
            "%s: %d samples beyond full scale were limited (peak %.3f); subtype='FLOAT' keeps them",
            *(path, writer.limited, writer.peak),
        )
