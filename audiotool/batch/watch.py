"""Watchers: receive the progress of a batch."""

from __future__ import annotations

from typing import Protocol

from audiotool.batch.job import Job
from audiotool.batch.work import Outcome


class Watcher(Protocol):
    """Receives the progress of a batch, in the process that called `run`."""

    def started(self, job: Job) -> None: ...

    def advanced(self, job: Job, done: int, total: int | None) -> None: ...

    def finished(self, outcome: Outcome) -> None: ...


class SilentWatcher:
    """A watcher that does nothing."""

    def started(self, job: Job) -> None: ...

    def advanced(self, job: Job, done: int, total: int | None) -> None: ...

    def finished(self, outcome: Outcome) -> None: ...
