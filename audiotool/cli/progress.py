"""What a user sees while files are processed: bars on a terminal, plain lines elsewhere; always on stderr."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiotool.audio import PIPE
from audiotool.cli.screen import progress, say
from audiotool.text import one_line

if TYPE_CHECKING:
    from audiotool.batch.job import Job
    from audiotool.batch.plan import Plan
    from audiotool.batch.watch import Watcher
    from audiotool.batch.work import Outcome


@contextlib.contextmanager
def make_watcher(verb: str, plan: Plan, quiet: bool) -> Iterator[Watcher]:
    """The watcher that fits the terminal."""
    if quiet:
        yield Quiet()
    elif sys.stderr.isatty():
        bars = Bars(verb, plan)
        with bars.progress:
            yield bars
    else:
        yield Lines(plan)


class Quiet:
    """Tells errors only."""

    def started(self, job: Job) -> None: ...

    def advanced(self, job: Job, done: int, total: int | None) -> None: ...

    def finished(self, outcome: Outcome) -> None:
        if outcome.error is not None:
            say(outcome.error)


class Lines:
    """One line a finished file, and one at the end of a batch."""

    def __init__(self, plan: Plan) -> None:
        self._total = len(plan.jobs) + len(plan.skipped)
        self._count = 0
        self._seconds = 0.0
        self._began = time.monotonic()

    def started(self, job: Job) -> None: ...

    def advanced(self, job: Job, done: int, total: int | None) -> None: ...

    def finished(self, outcome: Outcome) -> None:
        self._count += 1
        self._seconds += outcome.seconds
        place = f"[{self._count}/{self._total}] " if self._total > 1 else ""
        self._say(place + _line(outcome))
        for note in _notes(outcome):
            self._say(note)
        if self._count == self._total > 1 and self._seconds:
            elapsed = time.monotonic() - self._began
            self._say(
                f"{self._seconds:.1f} s of audio in {elapsed:.1f} s, {self._seconds / elapsed:.1f}x real time"
            )

    def _say(self, line: str) -> None:
        say(line)


class Bars(Lines):
    """The same lines, and below them a bar for the batch and one for each file in work, while they work."""

    def __init__(self, verb: str, plan: Plan) -> None:
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.table import Column

        super().__init__(plan)
        # A long name must leave room for the bar.
        names = Column(ratio=1, no_wrap=True, overflow="ellipsis")
        self.progress = progress(
            TextColumn("{task.description}", markup=False, table_column=names),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[amount]}"),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            disable=False,
            expand=True,
        )
        self._files: dict[str, Any] = {}
        self._rates: dict[str, int] = {}
        self._starts: dict[str, float] = {}
        self._batch = None
        if self._total > 1:
            self._batch = self.progress.add_task(verb, total=self._total, amount=f"0/{self._total}", speed="")
        self._verb = verb

    def started(self, job: Job) -> None:
        name = str(job.source)
        text = one_line(f"{self._verb} {job.name}")
        self._files[name] = self.progress.add_task(text, total=None, amount="", speed="")
        self._starts[name] = time.monotonic()
        self._rates[name] = _sample_rate(job)

    def advanced(self, job: Job, done: int, total: int | None) -> None:
        name = str(job.source)
        rate = self._rates[name]
        seconds = done / rate if rate else 0.0
        elapsed = time.monotonic() - self._starts[name]
        self.progress.update(
            self._files[name],
            completed=done,
            total=total,
            amount=f"{seconds:.0f} s" if rate else "",
            speed=f"{seconds / elapsed:.1f}x real time" if rate and elapsed > 0 else "",
        )

    def finished(self, outcome: Outcome) -> None:
        bar = self._files.pop(str(outcome.job.source), None)
        if bar is not None:
            self.progress.remove_task(bar)
        super().finished(outcome)
        if self._batch is not None:
            elapsed = max(time.monotonic() - self._began, 1e-9)
            speed = f"{self._seconds / elapsed:.1f}x real time"
            amount = f"{self._count}/{self._total}"
            self.progress.update(self._batch, advance=1, amount=amount, speed=speed)

    def _say(self, line: str) -> None:
        self.progress.console.print(one_line(line), soft_wrap=True)


def _line(outcome: Outcome) -> str:
    if outcome.error is not None:
        return outcome.error
    place = " and ".join(p for p in outcome.job.target.places if p != PIPE) or "standard output"
    if outcome.status == "skipped":
        return f"{outcome.job.name}: {place} there already, skipped"
    speed = outcome.row.facts.get("real_time_factor", 0.0)
    return f"{outcome.job.name} -> {place} ({outcome.seconds:.1f} s, {speed:.1f}x real time)"


def _notes(outcome: Outcome) -> list[str]:
    """Remarks that a report would not say anyway: scored rows are printed with theirs."""
    if outcome.status != "done" or outcome.row.values:
        return []
    return [f"{outcome.job.name}: {note}" for note in outcome.row.notes]


def _sample_rate(job: Job) -> int:
    """Hz, 0 when only reading will tell."""
    from audiotool.audio.reader import probe

    # What comes through a pipe comes once, and not for this.
    if str(job.source) == PIPE or Path(job.source).is_fifo():
        return 0
    try:
        return probe(job.source).sample_rate
    except Exception:
        # Whatever is wrong with the file is told when it is worked on.
        return 0
