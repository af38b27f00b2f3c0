"""Progress of a batch on standard error: bars on a terminal, lines elsewhere, or JSON events."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from audiotool.audio import PIPE
from audiotool.cli.screen import emit, progress, say
from audiotool.paths import is_fifo, without_credentials
from audiotool.text import one_line

if TYPE_CHECKING:
    from audiotool.batch.job import Job
    from audiotool.batch.plan import Plan
    from audiotool.batch.watch import Watcher
    from audiotool.batch.work import Outcome, Status
    from audiotool.metrics.rows import Row


@contextlib.contextmanager
def make_watcher(verb: str, plan: Plan, quiet: bool, events: Events | None = None) -> Iterator[Watcher]:
    """Yield the watcher for a terminal, for plain lines, or for events."""
    if events is not None:
        with events:
            yield events
    elif quiet:
        yield Quiet()
    elif sys.stderr.isatty():
        bars = Bars(verb, plan)
        with bars.progress:
            yield bars
    else:
        yield Lines(plan)


class Quiet:
    """Prints errors only."""

    def started(self, job: Job) -> None: ...

    def advanced(self, job: Job, done: int, total: int | None) -> None: ...

    def finished(self, outcome: Outcome) -> None:
        if outcome.error is not None:
            say(outcome.error)


class Events:
    """Writes an event a line for programs, see `--progress json`; leaving the context writes the last one.

    Args:
        command: name of the command.
        total: number of files.
    """

    def __init__(self, command: str, total: int) -> None:
        self._total = total
        self._counts = {"done": 0, "skipped": 0, "failed": 0}
        self._seconds = 0.0
        self._shares: dict[str, float] = {}
        self._began = self._last_progress = time.monotonic()
        emit("begun", command=command, total=total)

    def __enter__(self) -> Events:
        return self

    def __exit__(self, *error: object) -> None:
        elapsed = round(time.monotonic() - self._began, 3)
        emit("ended", **self._counts, audio_seconds=round(self._seconds, 3), elapsed_seconds=elapsed)

    def started(self, job: Job) -> None:
        emit("started", file=job.name, input=without_credentials(str(job.source)))

    def advanced(self, job: Job, done: int, total: int | None) -> None:
        self._shares[str(job.source)] = share = min(done / total, 1.0) if total else 0.0
        if time.monotonic() - self._last_progress >= 1:
            self._last_progress = time.monotonic()
            emit("progress", file=job.name, share=round(share, 4) if total else None, **self._left())

    def finished(self, outcome: Outcome) -> None:
        self._shares.pop(str(outcome.job.source), None)
        self._seconds += outcome.seconds
        self._counts[outcome.status] += 1
        for row in outcome.rows:
            self._ended(outcome.status, row, outcome.error)

    def scored(self, row: Row) -> None:
        """Write the event of a scored file or stem; the error of a failed one is its first reason."""
        self._seconds += row.facts.get("seconds", 0.0)
        status: Status = "failed" if row.failed else "done"
        self._counts[status] += 1
        error = next(iter(row.reasons.values()), "not scored") if row.failed else None
        self._ended(status, row, error)

    def _ended(self, status: Status, row: Row, error: str | None) -> None:
        """Write the event of a row of a finished file."""
        facts = {name: value for name, value in row.facts.items() if name != "status"}
        scores = {name: value.value for name, value in row.columns().items()}
        failure = {} if error is None else {"error": one_line(error)}
        emit(status, file=row.name, **facts, **scores, notes=row.notes, **failure, **self._left())

    def _left(self) -> dict[str, Any]:
        """Return how many files are finished, and the time to the end at the speed so far."""
        finished = sum(self._counts.values())
        work = finished + sum(self._shares.values())
        elapsed = time.monotonic() - self._began
        eta = round(elapsed / work * max(self._total - work, 0.0), 1) if work else None
        return {"finished": finished, "total": self._total, "eta_seconds": eta}


def batch_summary(outcomes: Sequence[Outcome], elapsed_s: float) -> str:
    """Return the line that sums up a finished batch."""
    statuses = [outcome.status for outcome in outcomes]
    failures, skipped = statuses.count("failed"), statuses.count("skipped")
    words = f"{failures} of {len(outcomes)} files failed" if failures else f"{len(outcomes)} files done"
    words += f", {skipped} of them there already" if skipped and not failures else ""
    words += f", {skipped} were there already" if skipped and failures else ""
    seconds = sum(outcome.seconds for outcome in outcomes)
    if not seconds:
        return words
    speed = seconds / max(elapsed_s, 1e-9)
    return f"{words}; {seconds:.1f} s of audio in {elapsed_s:.1f} s, {speed:.1f}x real time"


class Lines:
    """Prints one line for each finished file."""

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

    def _say(self, line: str) -> None:
        say(line)


class Bars(Lines):
    """Prints the same lines, and below them a bar for the batch and one for each file in work."""

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
    places = (without_credentials(p) for p in outcome.job.target.places if p != PIPE)
    place = " and ".join(places) or "standard output"
    if outcome.status == "skipped":
        return f"{outcome.job.name}: {place} there already, skipped"
    speed = outcome.row.facts.get("real_time_factor", 0.0)
    return f"{outcome.job.name} -> {place} ({outcome.seconds:.1f} s, {speed:.1f}x real time)"


def _notes(outcome: Outcome) -> list[str]:
    """Return the remarks of a file that is not scored; scored rows are printed with theirs."""
    if outcome.status != "done" or outcome.row.values:
        return []
    name = outcome.job.name
    return [note if note.startswith(name) else f"{name}: {note}" for note in outcome.row.notes]


def _sample_rate(job: Job) -> int:
    """Return the sample rate in Hz, 0 if it is not known before the file is read."""
    from audiotool.audio.reader import probe

    # The header of a pipe can be read only once.
    if str(job.source) == PIPE or is_fifo(job.source):
        return 0
    try:
        return probe(job.source).sample_rate
    except Exception:
        # Processing the file raises the error.
        return 0
