"""Open the writer of an output: a file, or standard output."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from audiotool.audio import PIPE
from audiotool.audio.extras import Extras
from audiotool.audio.writer import FileWriter, Writer

if TYPE_CHECKING:
    from audiotool.audio.raw import Raw


def open_writer(
    path: str | Path,
    sample_rate: int,
    channels: int,
    subtype: str = "PCM_16",
    asked_format: str | None = None,
    asked_subtype: str | None = None,
    frames: int | None = None,
    tags: Mapping[str, str] | None = None,
    extras: Extras | None = None,
    raw: Raw | None = None,
) -> Writer:
    """Return a FileWriter, or for "-" a PipeWriter, which writes neither tags nor extras; arguments as there.

    Args:
        frames: samples a channel, if known.
        raw: format of bare samples for standard output; None is WAV.
    """
    form = (sample_rate, channels, subtype, asked_format, asked_subtype, frames, tags, extras)
    if str(path) != PIPE:
        return FileWriter(path, *form)
    from audiotool.audio.pipe_writer import PipeWriter

    return PipeWriter(*form, raw=raw)
