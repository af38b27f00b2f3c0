"""Facts in a report of how an output was made: model, checkpoint hash, version and settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audiotool.batch.work import Outcome

if TYPE_CHECKING:
    from audiotool.report.report import Run


def describe(outcome: Outcome, run: Run) -> None:
    """Put what a run was into an outcome's rows, unless its outputs were there before the run."""
    if outcome.status != "skipped":
        facts = {
            "model": run.model,
            "checkpoint_sha256": run.checkpoint_sha256,
            "version": run.version,
            "settings": dict(run.settings),
        }
        for row in outcome.rows:
            # Facts of the file itself take precedence.
            row.facts = {**row.facts, **facts, **row.facts}
