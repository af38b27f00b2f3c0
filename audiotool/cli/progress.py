"""Progress of a batch on standard error: bars on a terminal, lines elsewhere, or JSON events."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from audiotool.audio import PIPE
from audiotool.cli.screen import console, emit, progress, say
from audiotool.paths import is_fifo
from audiotool.text import one_line

if TYPE_CHECKING:
    from rich.progress import TaskID

    from audiotool.batch.job import Job
    from audiotool.batch.plan import Plan
    from audiotool.batch.watch import Watcher
    from audiotool.batch.work import Outcome, Status
    from audiotool.metrics.rows import Row

WIDE = 80
"""Number of columns of a terminal from which the bars have their full length, and the speed beside them."""


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


class _Pace:
    """How much of the work of a batch is done, and how long the rest takes at the speed so far.

    Args:
        total: all work.
        sizes: the work of each file by its key, 0 for others; None counts each as 1.
    """

    def __init__(self, total: float, sizes: Mapping[Hashable, float] | None = None) -> None:
        self.total = total
        self._sizes = sizes
        self._finished = 0.0
        self._shares: dict[Hashable, float] = {}
        self._began: float | None = None

    def start(self) -> None:
        """Note that a file is begun; the time before the first does not count."""
        if self._began is None:
            self._began = time.monotonic()

    def advance(self, key: Hashable, share: float) -> None:
        """Note the share of a file that is done."""
        self._shares[key] = share

    def finish(self, key: Hashable, status: Status) -> None:
        """Note the end of a file. One that was skipped is no work."""
        self._shares.pop(key, None)
        if status != "skipped":
            self._finished += self._size(key)

    @property
    def done(self) -> float:
        """The work that is done, with that in files which are not finished."""
        return self._finished + sum(share * self._size(key) for key, share in self._shares.items())

    @property
    def elapsed_s(self) -> float:
        """Seconds since the first file was begun."""
        return 0.0 if self._began is None else time.monotonic() - self._began

    @property
    def left_s(self) -> float | None:
        """Seconds to the end; None before anything is done."""
        done = self.done
        left = max(self.total - done, 0.0)
        if not left:
            return 0.0
        return self.elapsed_s / done * left if done else None

    def _size(self, key: Hashable) -> float:
        return 1.0 if self._sizes is None else self._sizes.get(key, 0.0)


def _pace_of(jobs: Iterable[Job]) -> _Pace:
    """Return the pace of jobs, none of which is skipped.

    Their work is the bytes of their inputs, because several workers begin with the largest ones; each counts
    the same if a size is not known. What fails before it is begun is no work.
    """
    sizes: dict[Hashable, float] = {job.key: job.size for job in jobs if not job.obstacle}
    if not all(sizes.values()):
        sizes = dict.fromkeys(sizes, 1.0)
    return _Pace(sum(sizes.values()), sizes)


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
        jobs: those that are not skipped, whose sizes tell how long they take; None where files have no jobs.
    """

    def __init__(self, command: str, total: int, jobs: Iterable[Job] | None = None) -> None:
        self._total = total
        self._pace = _Pace(total) if jobs is None else _pace_of(jobs)
        if jobs is None:
            self._pace.start()
        self._counts = {"done": 0, "skipped": 0, "failed": 0}
        self._seconds = 0.0
        self._began = self._last_progress = time.monotonic()
        emit("begun", command=command, total=total)

    def __enter__(self) -> Events:
        return self

    def __exit__(self, *error: object) -> None:
        elapsed = round(time.monotonic() - self._began, 3)
        emit("ended", **self._counts, audio_seconds=round(self._seconds, 3), elapsed_seconds=elapsed)

    def started(self, job: Job) -> None:
        self._pace.start()
        emit("started", file=job.name, input=str(job.source))

    def advanced(self, job: Job, done: int, total: int | None) -> None:
        share = min(done / total, 1.0) if total else 0.0
        self._pace.advance(job.key, share)
        if time.monotonic() - self._last_progress >= 1:
            self._last_progress = time.monotonic()
            emit("progress", file=job.name, share=round(share, 4) if total else None, **self._left())

    def finished(self, outcome: Outcome) -> None:
        self._pace.finish(outcome.job.key, outcome.status)
        self._seconds += outcome.seconds
        self._counts[outcome.status] += 1
        for row in outcome.rows:
            self._ended(outcome.status, row, outcome.error)

    def scored(self, row: Row) -> None:
        """Write the event of a scored file or stem; the error of a failed one is its first reason."""
        self._seconds += row.facts.get("seconds", 0.0)
        status: Status = "failed" if row.failed else "done"
        self._pace.finish(row.name, status)
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
        left = self._pace.left_s
        eta = None if left is None else round(left, 1)
        return {"finished": sum(self._counts.values()), "total": self._total, "eta_seconds": eta}


def batch_summary(outcomes: Sequence[Outcome], elapsed_s: float) -> str:
    """Return the line that sums up a finished batch; without a speed where its time has the scoring in it."""
    statuses = [outcome.status for outcome in outcomes]
    failures = statuses.count("failed")
    left = sum(outcome.is_left for outcome in outcomes)
    skipped, done = statuses.count("skipped") - left, len(outcomes) - left
    words = f"{done} file{'' if done == 1 else 's'} done"
    words = f"{failures} of {len(outcomes)} files failed" if failures else words
    words += f", {skipped} of them there already" if skipped and not failures else ""
    words += f", {skipped} were there already" if skipped and failures else ""
    words += f", {left} left to another process" if left else ""
    seconds = sum(outcome.seconds for outcome in outcomes)
    if not seconds:
        return words
    words = f"{words}; {seconds:.1f} s of audio in {elapsed_s:.1f} s"
    if any(map(_is_scored, outcomes)):
        return f"{words}, scoring included"
    return f"{words}, {seconds / max(elapsed_s, 1e-9):.1f}x real time"


class Lines:
    """Prints one line for each finished file."""

    def __init__(self, plan: Plan) -> None:
        self._total = len(plan.jobs) + len(plan.skipped)
        self._count = 0
        self._seconds = 0.0

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


class _FileBar(NamedTuple):
    """The bar of a file.

    Args:
        task: number of the bar.
        sample_rate: of the file in Hz; 0 if it is not known.
        began: time at which its job began, in seconds.
    """

    task: TaskID
    sample_rate: int
    began: float


class Bars(Lines):
    """Prints the same lines, and below them a bar for the batch and one for each file in work."""

    def __init__(self, verb: str, plan: Plan) -> None:
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.table import Column

        super().__init__(plan)
        # A long name must leave room for the bar. On a narrow screen the bar leaves room for the name.
        names = Column(ratio=1, no_wrap=True, overflow="ellipsis")
        wide = console(to_stderr=True).width >= WIDE
        self.progress = progress(
            TextColumn("{task.description}", markup=False, table_column=names),
            BarColumn(bar_width=20 if wide else 8),
            TextColumn("{task.fields[amount]}"),
            *([TextColumn("{task.fields[speed]}")] if wide else []),
            TimeRemainingColumn(),
            disable=False,
            expand=True,
        )
        self._files: dict[Hashable, _FileBar] = {}
        self._pace = _pace_of(plan.jobs)
        self._scores = False
        self._batch = None
        if self._total > 1:
            amount = f"0/{self._total}"
            self._batch = self.progress.add_task(verb, total=self._pace.total, amount=amount, speed="")

    def started(self, job: Job) -> None:
        self._pace.start()
        self._remove(job)  # of a worker that died at it
        task = self.progress.add_task(one_line(job.name), total=None, amount="", speed="")
        self._files[job.key] = _FileBar(task, _sample_rate(job), time.monotonic())

    def advanced(self, job: Job, done: int, total: int | None) -> None:
        bar = self._files[job.key]
        rate = bar.sample_rate
        seconds = done / rate if rate else 0.0
        elapsed = time.monotonic() - bar.began
        self.progress.update(
            bar.task,
            completed=done,
            total=total,
            amount=f"{seconds:.0f} s" if rate else "",
            speed=f"{seconds / elapsed:.1f}x real time" if rate and elapsed > 0 else "",
        )
        self._pace.advance(job.key, min(done / total, 1.0) if total else 0.0)
        if self._batch is not None:
            self.progress.update(self._batch, completed=self._pace.done)

    def _remove(self, job: Job) -> None:
        bar = self._files.pop(job.key, None)
        if bar is not None:
            self.progress.remove_task(bar.task)

    def finished(self, outcome: Outcome) -> None:
        self._pace.finish(outcome.job.key, outcome.status)
        self._remove(outcome.job)
        super().finished(outcome)
        if self._batch is not None:
            elapsed = self._pace.elapsed_s
            self._scores |= _is_scored(outcome)
            tells = elapsed > 0 and not self._scores
            speed = f"{self._seconds / elapsed:.1f}x real time" if tells else ""
            amount = f"{self._count}/{self._total}"
            self.progress.update(self._batch, completed=self._pace.done, amount=amount, speed=speed)

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


def _is_scored(outcome: Outcome) -> bool:
    return any(row.values for row in outcome.rows)


def _notes(outcome: Outcome) -> list[str]:
    """Return the remarks of a file that is not scored; scored rows are printed with theirs."""
    if outcome.error is not None or outcome.row.values:
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
