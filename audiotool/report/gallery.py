"""What a page shows of many rows: whether sound fits into it, and pictures made in worker processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

from audiotool.audio.reader import probe
from audiotool.errors import AudiotoolError
from audiotool.metrics.rows import Row
from audiotool.report.media import EMBEDDED_CHANNELS, make_media
from audiotool.report.spool import Spool
from audiotool.signals import leave_to_parent

Sound = Literal["embed", "link", "none"]
"""Where a page's sound is: in the page, in the files themselves, or nowhere."""

EMBEDDED_BYTES = 24_000_000
"""Of sound, up to which it is in the page unless it is said where it should be."""
BYTES_A_SECOND = 6000
"""Of one channel, compressed, and never much more."""
TRACKS = 3
"""Recordings of a row: input, output, and what is between them."""


def sound_that_fits(sources: Iterable[str | Path]) -> Sound:
    """Whether the sound of a page of these inputs is embedded or linked; headers alone are read."""
    size = 0.0
    for source in sources:
        try:
            info = probe(source) if Path(source).is_file() else None
        except (AudiotoolError, OSError, ValueError):
            # What cannot be read will not be heard.
            continue
        if info is not None and info.seconds is not None:
            size += info.seconds * min(info.channels, EMBEDDED_CHANNELS) * BYTES_A_SECOND * TRACKS
        if size > EMBEDDED_BYTES:
            return "link"
    return "embed"


def add_media(
    rows: Sequence[Row],
    sound: Sound,
    spool: Spool,
    jobs: int = 1,
    folder: Path | None = None,
    progress: Callable[[Row], None] = lambda row: None,
) -> None:
    """Give rows what a page shows of them.

    Args:
        jobs: worker processes.
        folder: as `media.make_media`.
        progress: called with each row when it is done.
    """
    embed = sound == "embed"
    if jobs <= 1 or len(rows) <= 1:
        for row in rows:
            row.media = make_media(row, embed, folder)
            progress(spool.keep(row))
        return
    with ProcessPoolExecutor(min(jobs, len(rows)), get_context("spawn"), leave_to_parent) as pool:
        futures = {pool.submit(make_media, row, embed, folder): row for row in rows}
        for future in as_completed(futures):
            row = futures.pop(future)
            try:
                row.media = future.result()
            except BrokenProcessPool:
                # A library that ends the process over a file costs pictures, not the page.
                row.media = None
            progress(spool.keep(row))
