"""What commands make reports with: the facts of the run, the place of a page's sound, and its pictures."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiotool.cli.screen import progress, say
from audiotool.tasks.options import ReportAudioChoice

if TYPE_CHECKING:
    from audiotool.metrics.rows import Row
    from audiotool.report.gallery import Sound
    from audiotool.report.report import Run
    from audiotool.report.spool import Spool

LINE_SECONDS = 10.0
"""Least time between two lines that say how many pictures are drawn."""


def begin(**facts: Any) -> Run:
    """Return the description of this run; `facts` are fields of `Run`."""
    from audiotool.report.report import Run

    return Run.begin(shlex.join(["audiotool", *sys.argv[1:]]), **facts)


def page_sound(
    paths: Sequence[Path], asked: ReportAudioChoice | None, sources: Iterable[str | Path]
) -> Sound | None:
    """Return where the page among the reports keeps its sound; None without a page.

    Args:
        sources: the inputs; their size decides if `asked` is None.
    """
    if not paths:
        return None
    from audiotool.report.gallery import sound_that_fits
    from audiotool.report.write import PAGE

    if not any(path.suffix.lower() == PAGE for path in paths):
        return None
    return sound_that_fits(sources) if asked is None else asked.value


def look(
    rows: Sequence[Row],
    sound: Sound,
    spool: Spool,
    jobs: int,
    quiet: bool,
) -> None:
    """Make the pictures of rows for a page, with a bar on a terminal, and a line now and then elsewhere."""
    from audiotool.report.gallery import add_media

    count, said = 0, time.monotonic()

    def advance(row: Row) -> None:
        nonlocal count, said
        count += 1
        bars.advance(bar)
        if not quiet and not sys.stderr.isatty() and time.monotonic() - said >= LINE_SECONDS:
            said = time.monotonic()
            say(f"pictures of {count} of {len(rows)} rows are drawn")

    with progress(quiet=quiet) as bars:
        bar = bars.add_task("drawing", total=len(rows))
        add_media(rows, sound, spool, jobs, advance)
