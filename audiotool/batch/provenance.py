"""What a report says of how an output came to be: model, checkpoint hash, version and settings."""

from __future__ import annotations

import dataclasses
from typing import Any

from audiotool import checkpoint
from audiotool.batch.work import Outcome, Work
from audiotool.version import __version__


def provenance(work: Work) -> dict[str, Any]:
    """{"model", "checkpoint_sha256", "version", "settings"} of a run; no model where mels are analysed.

    Raises:
        CheckpointError: there is no such checkpoint.
    """
    settings = {name: value for name, value in work.settings.items() if value is not None}
    settings |= {"enrolment": str(work.enrolment)} if work.enrolment is not None else {}
    settings |= {"f0": work.f0} if work.f0 is not None else {}
    if work.mel is not None:
        settings["mel"] = dataclasses.asdict(work.mel)
        return {"model": None, "checkpoint_sha256": None, "version": __version__, "settings": settings}
    path = (
        checkpoint.default_for(work.task) if work.checkpoint is None else checkpoint.resolve(work.checkpoint)
    )
    return {
        "model": path.stem if path in checkpoint.named().values() else str(path),
        "checkpoint_sha256": checkpoint.sha256(path),
        "version": __version__,
        "settings": settings,
    }


def describe(outcome: Outcome, facts: dict[str, Any]) -> None:
    """Put facts of the run into an outcome's rows, unless its outputs were there before the run."""
    if outcome.status != "skipped":
        for row in outcome.rows:
            row.facts = {**row.facts, **facts}
