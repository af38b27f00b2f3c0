"""Who is told of a batch's progress."""

from __future__ import annotations

from typing import Protocol

from audiotool.batch.job import Job
from audiotool.batch.work import Outcome


class Watcher(Protocol):
    """Told what happens, in the process that called."""

    def started(self, job: Job) -> None: ...

    def advanced(self, job: Job, done: int, total: int | None) -> None: ...

    def finished(self, outcome: Outcome) -> None: ...


class SilentWatcher:
    """A watcher that tells nobody."""

    def started(self, job: Job) -> None: ...

    def advanced(self, job: Job, done: int, total: int | None) -> None: ...

    def finished(self, outcome: Outcome) -> None: ...
