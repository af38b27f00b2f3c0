"""What a user sees while files are processed: bars on a terminal, plain lines elsewhere; always on stderr."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from audiotool.audio import PIPE

if TYPE_CHECKING:
    from audiotool.batch.plan import Job, Plan
    from audiotool.batch.run import Watcher
    from audiotool.batch.work import Outcome


def say(message: str) -> None:
    """Write one line to stderr."""
    sys.stderr.write(f"audiotool: {' '.join(message.split())}\n")
    sys.stderr.flush()


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
        say(place + _line(outcome))
        for note in _notes(outcome):
            say(note)
        if self._count == self._total > 1 and self._seconds:
            elapsed = time.monotonic() - self._began
            say(
                f"{self._seconds:.1f} s of audio in {elapsed:.1f} s, {self._seconds / elapsed:.1f}x real time"
            )


class Bars:
    """A bar for the batch and one for each file in work, with speed against real time and time left."""

    def __init__(self, verb: str, plan: Plan) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[amount]}"),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            console=Console(file=sys.stderr),
            # Data on standard output must not be taken for something to print above the bars.
            redirect_stdout=False,
        )
        self._plan = plan
        self._files: dict[str, Any] = {}
        self._rates: dict[str, int] = {}
        self._began: dict[str, float] = {}
        self._seconds = 0.0
        self._start = time.monotonic()
        self._batch = None
        self._total = len(plan.jobs) + len(plan.skipped)
        if self._total > 1:
            self._batch = self.progress.add_task(verb, total=self._total, amount=f"0/{self._total}", speed="")
        self._verb = verb

    def started(self, job: Job) -> None:
        name = str(job.source)
        self._files[name] = self.progress.add_task(
            f"{self._verb} {job.name}", total=None, amount="", speed=""
        )
        self._began[name] = time.monotonic()
        self._rates[name] = _sample_rate(job)

    def advanced(self, job: Job, done: int, total: int | None) -> None:
        name = str(job.source)
        rate = self._rates[name]
        seconds = done / rate if rate else 0.0
        elapsed = time.monotonic() - self._began[name]
        self.progress.update(
            self._files[name],
            completed=done,
            total=total,
            amount=f"{seconds:.0f} s" if rate else "",
            speed=f"{seconds / elapsed:.1f}x real time" if rate and elapsed > 0 else "",
        )

    def finished(self, outcome: Outcome) -> None:
        self._seconds += outcome.seconds
        bar = self._files.pop(str(outcome.job.source), None)
        if bar is not None:
            self.progress.remove_task(bar)
        if self._batch is not None:
            elapsed = max(time.monotonic() - self._start, 1e-9)
            self.progress.update(self._batch, advance=1, speed=f"{self._seconds / elapsed:.1f}x real time")
            count = int(self.progress.tasks[0].completed)
            self.progress.update(self._batch, amount=f"{count}/{self._total}")
        if self._batch is None or outcome.error is not None:
            self.progress.console.print(_line(outcome), markup=False, highlight=False, soft_wrap=True)
        for note in _notes(outcome):
            self.progress.console.print(note, markup=False, highlight=False, soft_wrap=True)


def _line(outcome: Outcome) -> str:
    if outcome.error is not None:
        return outcome.error
    place = " and ".join(map(str, outcome.job.target.paths)) or "standard output"
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
    from audiotool.errors import InputError

    if str(job.source) == PIPE:
        return 0
    try:
        return probe(job.source).sample_rate
    except InputError:
        return 0
