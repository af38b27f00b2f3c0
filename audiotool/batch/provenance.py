"""What a report says of how an output came to be: model, checkpoint hash, version and settings."""

from __future__ import annotations

from typing import Any

from audiotool.batch.work import Outcome, Work
from audiotool.version import __version__

REPORTED_AS = {"warm_up": "rehearse"}
"""Settings that reports keep under the name they had first, for what reads reports."""


def provenance(work: Work) -> dict[str, Any]:
    """{"model", "checkpoint_sha256", "version", "settings"} of a run; no model where there is none.

    Raises:
        CheckpointError: there is no such checkpoint.
    """
    facts = work.processor.provenance()
    return {
        "model": facts["model"],
        "checkpoint_sha256": facts["checkpoint_sha256"],
        "version": __version__,
        "settings": {REPORTED_AS.get(name, name): value for name, value in facts["settings"].items()},
    }


def describe(outcome: Outcome, facts: dict[str, Any]) -> None:
    """Put facts of the run into an outcome's rows, unless its outputs were there before the run."""
    if outcome.status != "skipped":
        for row in outcome.rows:
            row.facts = {**row.facts, **facts}
