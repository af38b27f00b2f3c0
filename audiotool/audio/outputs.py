"""Open the writer of an output, a file or standard output, and write whole waveforms."""

from __future__ import annotations

import io
import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from audiotool.arrays import Array, UserArray, in_whole_hertz
from audiotool.audio import OPEN_FILE, PIPE
from audiotool.audio.file_writer import FileWriter
from audiotool.audio.formats import muxer_for
from audiotool.audio.levels import limited_words
from audiotool.audio.target import check_names
from audiotool.audio.writer import OutputFormat, Writer
from audiotool.errors import InputError
from audiotool.paths import local_path
from audiotool.writable import as_input_error

if TYPE_CHECKING:
    from audiotool.audio.raw import Raw

log = logging.getLogger(__name__)

DOUBLES = ("DOUBLE", "PCM_32")
"""Sample formats with more digits than float32 has."""


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
    path: str | os.PathLike[str] | BinaryIO,
    waveform: Array,
    sample_rate: int,
    subtype: str | None = None,
    format: str | None = None,
) -> None:
    """Write a whole waveform completely or not at all.

    Samples beyond full scale are limited where the subtype cannot hold them, or players will do so: a warning
    is logged.

    Args:
        path: a path, or a binary file that is open, such as `io.BytesIO()`, with a `format`: it is written at
            its position, and stays open.
        waveform: (time,) or (channels, time), as pipelines take it: floating point with a full scale of 1, or
            int16, numpy or torch. "DOUBLE" and "PCM_32" keep the digits of float64, others those of float32.
        sample_rate: Hz.
        subtype: "PCM_24", "FLOAT" and others that the format holds, in any case; None is 16 bits, or the
            format's own.
        format: "flac" and others; None follows the ending of the name.
    Raises:
        InputError: as `open_writer`, or other axes or types, NaN, or samples beyond `arrays.LOUDEST`; a file
            that is closed, or open for text or for reading.
    """
    check_names(format, subtype)
    if isinstance(path, (str, os.PathLike)) or not hasattr(path, "write"):
        place = local_path(path)
        _write(place, str(place), waveform, sample_rate, subtype, format)
        return
    if hasattr(path, "encoding"):  # also of wrappers, as those of `tempfile` and `codecs`
        raise InputError("an open file is written as bytes: open it with the mode 'wb'")
    if getattr(path, "closed", False):
        raise InputError(f"cannot write {OPEN_FILE}: it is closed")
    if format is None:
        raise InputError("an open file has no ending that names its format: give one, such as format='wav'")
    with tempfile.TemporaryDirectory(prefix="audiotool-") as folder:
        complete = Path(folder, "output")
        _write(complete, OPEN_FILE, waveform, sample_rate, subtype, format)
        with as_input_error(OPEN_FILE), complete.open("rb") as file:
            try:
                shutil.copyfileobj(file, path)
            except io.UnsupportedOperation as error:
                raise InputError(f"cannot write {OPEN_FILE}: it is open for reading") from error


def _write(
    path: str | Path, name: str, waveform: Array, sample_rate: int, subtype: str | None, format: str | None
) -> None:
    """Write a waveform to a path; warnings have the name."""
    array = UserArray(waveform)
    wanted = OutputFormat(
        in_whole_hertz(sample_rate),
        array.block.shape[0],
        asked_format=format,
        asked_subtype=subtype,
        frames=array.block.shape[1],
    )
    with open_writer(path, wanted) as writer:
        writer.write((array.in_double() if writer.subtype in DOUBLES else array.block).T)
    if writer.limited:
        log.warning(
            "%s: %s; a WAV with subtype='FLOAT' keeps them", name, limited_words(writer.limited, writer.peak)
        )
    if writer.excess:
        log.warning("%s: %s", name, writer.excess)
