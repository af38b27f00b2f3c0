"""A report: its rows, and the facts of the run that made them."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from audiotool.cores import core_count
from audiotool.metrics.rows import Row
from audiotool.version import __version__

if TYPE_CHECKING:
    from audiotool.report.comparison import Comparison

BEGAN, BEGAN_S = datetime.now().astimezone(), time.monotonic()
"""A moment by the clock on the wall, which somebody may set, and by the one that only goes on."""

COUNTS = ("planned", "finished")
"""Names of the facts of a run that are counts of files."""


@dataclass(frozen=True)
class Run:
    """Facts of the run that made the rows of a report. What is not known is None, or empty.

    Args:
        command: the command line.
        started: date and time with the offset from UTC, ISO 8601.
        elapsed_s: wall time.
        machine: system, processor and cores.
        version: of audiotool.
        model: name of the checkpoint, or its path.
        checkpoint_sha256: of the checkpoint's file.
        licence: of the checkpoint's weights.
        settings: options of the streams.
        shard: share of the batch, "3/64".
        planned: number of files of the command.
        finished: number of those that came to an end, and have rows; fewer where it was interrupted.
    """

    command: str | None = None
    started: str | None = None
    elapsed_s: float | None = None
    machine: str | None = None
    version: str | None = __version__
    model: str | None = None
    checkpoint_sha256: str | None = None
    licence: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    shard: str | None = None
    planned: int | None = None
    finished: int | None = None

    @property
    def is_interrupted(self) -> bool:
        """Whether there are files without rows, because the command was interrupted or failed."""
        return self.planned is not None and self.finished is not None and self.finished < self.planned

    @classmethod
    def begin(cls, command: str, **facts: Any) -> Run:
        """Return a run that starts now, on this machine; `facts` are other fields."""
        return cls(command, _now().isoformat(timespec="milliseconds"), machine=machine(), **facts)

    def ended(self) -> Run:
        """Return the run with the time from its start until now."""
        began = _now() if self.started is None else datetime.fromisoformat(self.started)
        return replace(self, elapsed_s=round((_now() - began).total_seconds(), 3))


@dataclass(frozen=True)
class Report:
    """The results of a command.

    Args:
        rows: one a job, or one a stem.
        run: facts of the run.
        command: name of the command that made the report; "" if it is not known.
        failures: scores that do not reach their threshold; None without thresholds.
        comparison: comparison with another system; None without one.
    """

    rows: Sequence[Row]
    run: Run = field(default_factory=Run)
    command: str = "evaluate"
    failures: Sequence[Mapping[str, Any]] | None = None
    comparison: Comparison | None = None

    def recordings(self) -> list[Row]:
        """Return one row of each recording: the stems of one have a row each."""
        found: dict[object, Row] = {}
        for n, row in enumerate(self.rows):
            job = [row.facts.get(name) for name in ("input", "checkpoint_sha256", "elapsed_seconds")]
            found.setdefault(n if None in (job[0], job[2]) else str(job), row)
        return list(found.values())

    def extent(self) -> str:
        """Return the number of files: "12 files", "2 of 12 files, interrupted"."""
        if self.run.is_interrupted:
            return f"{self.run.finished} of {self.run.planned} files, interrupted"
        count = len(self.recordings())
        return f"{count} file{'' if count == 1 else 's'}"

    def checkpoints(self) -> dict[str, str | None]:
        """Return model -> hash of the checkpoint's file, of all rows, and the run's for rows without one."""
        made = [dict(row.facts) for row in self.rows if row.status != "failed"]
        if not made or not all(facts.get("model") for facts in made):
            made.insert(0, {"model": self.run.model, "checkpoint_sha256": self.run.checkpoint_sha256})
        return {str(m["model"]): m.get("checkpoint_sha256") for m in made if m.get("model")}


def machine() -> str:
    """Return a description of this machine without its name: "Linux x86_64, 8 cores, Python 3.12.4"."""
    cores = core_count()
    return (
        f"{platform.system()} {platform.machine()}, {cores} core{'s' if cores > 1 else ''},"
        f" Python {platform.python_version()}"
    )


def _now() -> datetime:
    """Return the time by a clock that nobody sets meanwhile."""
    return BEGAN + timedelta(seconds=time.monotonic() - BEGAN_S)
