"""What lies before a run that begins with another checkpoint: its data, and how long it was trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from audiotool.checkpoint import Metadata

Source = dict[str, Any]
"""{"name", "licence", "seconds"}; imported checkpoints may lack the last."""

AMOUNTS = ("steps", "examples", "hours_of_audio", "hours")
"""Facts of a training that add up over trainings."""


@dataclass(frozen=True)
class History:
    """The past of a fine-tuned model, kept in the run's states: the checkpoint itself may be gone by then.

    Args:
        sources: what the checkpoint was trained on, and everything before it.
        training: {"checkpoint", "steps", "examples", "hours_of_audio", "hours"}, its own and all before it
            together; an amount that is not known of every one of them is left out.
    """

    sources: list[Source]
    training: dict[str, Any]

    @classmethod
    def of(cls, name: str, parent: Metadata) -> History:
        """The past of a run that begins with a checkpoint, called `name`."""
        trainings = [parent.training]
        if "before" in parent.training or _began_with_another(parent):
            trainings.append(parent.training.get("before", {}))
        known = {k: [t[k] for t in trainings if t.get(k) is not None] for k in AMOUNTS}
        sums = {k: round(sum(v), 3) for k, v in known.items() if len(v) == len(trainings)}
        # A trail that says nothing of the parent's data would claim that there was none.
        unknown = [{"name": f"data of {name}", "licence": "unknown"}]
        return cls(parent.sources or unknown, {"checkpoint": name, **sums})


def joined_sources(*trails: Sequence[Source]) -> list[Source]:
    """One row for every source and licence: the same material counts once, with its larger seconds."""
    rows: dict[tuple[str, str], Source] = {}
    for source in (source for trail in trails for source in trail):
        key = (str(source.get("name", "")), str(source.get("licence", "unknown")))
        known = rows.get(key, {})
        lengths = [row["seconds"] for row in (known, source) if row.get("seconds") is not None]
        rows[key] = known | source | ({"seconds": max(lengths)} if lengths else {})
    return [rows[key] for key in sorted(rows)]


def _began_with_another(metadata: Metadata) -> bool:
    """True for a fine-tuned checkpoint, also for one of a time when its past was not written down."""
    return bool(((metadata.recipe or {}).get("init") or {}).get("checkpoint"))
