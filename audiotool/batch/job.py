"""A job of a batch: one input and its outputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from audiotool.audio.writer import Target


@dataclass(frozen=True, slots=True)
class Job:
    """One input and its outputs.

    Args:
        name: what progress and report call it: the input's path below the folder it was found in.
        source: a path, or "-".
        target: where outputs go.
        references: clean versions, one for each stem; empty when there are none.
        unscored: why there are none although other jobs have them; "" otherwise.
        companions: other files that are read with the source.
    """

    name: str
    source: str | Path
    target: Target
    references: tuple[Path, ...] = ()
    unscored: str = ""
    companions: tuple[Path, ...] = ()

    @property
    def inputs(self) -> tuple[str | Path, ...]:
        """All that is read: the source, and its companions."""
        return (self.source, *self.companions)
