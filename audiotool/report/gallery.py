"""Pictures and sounds of many rows, made in worker processes; and whether a page has room for the sounds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

from audiotool.audio.reader import probe
from audiotool.cores import affordable_workers
from audiotool.errors import AudiotoolError
from audiotool.metrics.rows import Row
from audiotool.report.media import EMBEDDED_CHANNELS, make_media
from audiotool.report.spool import Spool
from audiotool.signals import follow_parent

Sound = Literal["embed", "link", "none"]
"""Place of a page's sound: inside the page, in the recordings it links to, or nowhere."""

EMBEDDED_BYTES = 24_000_000
"""Estimated size of all sounds up to which a page embeds them, unless the user chooses."""
BYTES_A_SECOND = 6000
"""Size of one second of one channel of compressed sound."""
TRACKS = 3
"""Number of sounds of a row, for the estimate: input, output and removed signal."""


def sound_that_fits(sources: Iterable[str | Path]) -> Sound:
    """Return whether a page of these inputs embeds or links its sound; reads headers alone."""
    size = 0.0
    for source in sources:
        try:
            info = probe(source) if Path(source).is_file() else None
        except (AudiotoolError, OSError, ValueError):
            # A file that cannot be read has no sound on the page.
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
    progress: Callable[[Row], None] = lambda row: None,
) -> None:
    """Make the pictures and sounds of rows, and keep them in a spool.

    Args:
        jobs: greatest number of worker processes.
        progress: called with each finished row.
    """
    embed = sound == "embed"
    jobs = affordable_workers(min(jobs, len(rows)))
    if jobs <= 1:
        for row in rows:
            row.media = make_media(row, embed)
            progress(spool.keep(row))
        return
    with ProcessPoolExecutor(jobs, get_context("spawn"), follow_parent) as pool:
        futures = {pool.submit(make_media, row, embed): row for row in rows}
        for future in as_completed(futures):
            row = futures.pop(future)
            try:
                row.media = future.result()
            except BrokenProcessPool:
                # If a library ends the process, the page lacks the pictures of its row alone.
                row.media = None
            progress(spool.keep(row))
