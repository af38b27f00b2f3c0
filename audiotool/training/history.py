"""The history of a fine-tuned model: the data and the length of the trainings before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from audiotool.checkpoint import Metadata

Source = dict[str, Any]
"""{"name", "licence", "seconds"}; imported checkpoints may lack the last."""

AND, OR = " AND ", " OR "
"""What joins licences that all count, and those of which one is chosen."""

AMOUNTS = ("steps", "examples", "hours_of_audio", "hours")
"""Facts of a training that are summed over trainings."""


@dataclass(frozen=True)
class History:
    """The trainings before a run. It is kept in the run's states, because the checkpoint may be gone later.

    Args:
        sources: data of the checkpoint's training, and of all trainings before.
        licence: of the checkpoint's weights; "" in states of earlier versions.
        training: {"checkpoint", "steps", "examples", "hours_of_audio", "hours"}: sums over the checkpoint's
            training and all before; an amount that one of them lacks is left out.
    """

    sources: list[Source]
    training: dict[str, Any]
    licence: str = ""

    @classmethod
    def of(cls, name: str, parent: Metadata) -> History:
        """Return the history of a run that begins with the checkpoint `name`."""
        trainings = [parent.training]
        if "before" in parent.training or _began_with_another(parent):
            trainings.append(parent.training.get("before", {}))
        known = {k: [t[k] for t in trainings if t.get(k) is not None] for k in AMOUNTS}
        sums = {k: round(sum(v), 3) for k, v in known.items() if len(v) == len(trainings)}
        # Without a row for the parent's data the sources would claim that there was none.
        unknown = [{"name": f"data of {name}", "licence": "unknown"}]
        return cls(parent.sources or unknown, {"checkpoint": name, **sums}, parent.licence)

    def licence_with(self, licence: str) -> str:
        """Return the licence of the weights that a recipe of some licence makes of the checkpoint's.

        Weights that are made of others are bound by their licence, too: where the recipe has another one,
        both count ("MIT AND CC-BY-NC-4.0", an SPDX expression).
        """
        if not self.licence or licence in self.licence.split(OR):
            return licence
        if licence in self.licence.split(AND):
            return self.licence
        return f"{licence}{AND}{f'({self.licence})' if OR in self.licence else self.licence}"


def joined_sources(*trails: Sequence[Source]) -> list[Source]:
    """Join rows of the same source and licence to one, with the larger number of seconds."""
    rows: dict[tuple[str, str], Source] = {}
    for source in (source for trail in trails for source in trail):
        key = (str(source.get("name", "")), str(source.get("licence", "unknown")))
        known = rows.get(key, {})
        lengths = [row["seconds"] for row in (known, source) if row.get("seconds") is not None]
        rows[key] = known | source | ({"seconds": max(lengths)} if lengths else {})
    return [rows[key] for key in sorted(rows)]


def _began_with_another(metadata: Metadata) -> bool:
    """Whether a checkpoint is fine-tuned, also one of a version without histories."""
    return bool(((metadata.recipe or {}).get("init") or {}).get("checkpoint"))
