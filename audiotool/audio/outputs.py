"""Open the writer of an output, a file or standard output, and write whole waveforms."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from audiotool.arrays import Array, UserArray, in_whole_hertz
from audiotool.audio import PIPE
from audiotool.audio.formats import muxer_for
from audiotool.audio.writer import FileWriter, OutputFormat, Writer

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
    waveform: Array,
    sample_rate: int,
    subtype: str | None = None,
    format: str | None = None,
) -> None:
    """Write a whole waveform completely or not at all.

    Samples beyond full scale are limited where the subtype cannot hold them, or players will do so: a warning
    is logged.

    Args:
        waveform: (time,) or (channels, time), as pipelines take it: floating point with a full scale of 1, or
            int16, numpy or torch.
        sample_rate: Hz.
        subtype: "PCM_24", "FLOAT" and others that the format holds, in any case; None is 16 bits, or the
            format's own.
        format: "flac" and others; None follows the ending of the name.
    Raises:
        InputError: as `open_writer`, or other axes or types, NaN or infinite samples.
    """
    block = UserArray(waveform).block
    wanted = OutputFormat(
        in_whole_hertz(sample_rate),
        block.shape[0],
        asked_format=format,
        asked_subtype=subtype,
        frames=block.shape[1],
    )
    with open_writer(path, wanted) as writer:
        writer.write(block.T)
    if writer.limited:
        log.warning(
            "%s: %d samples beyond full scale were limited (peak %.3f); subtype='FLOAT' keeps them",
            *(path, writer.limited, writer.peak),
        )
    if writer.excess:
        log.warning("%s: %s", path, writer.excess)
