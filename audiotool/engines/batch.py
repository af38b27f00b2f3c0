"""Many streams of one engine, stepped together.

    batch = engine.batch(capacity=64)
    batch.insert((3,), engine.start())              # a stream of one row; two channels of one may take (4, 5)
    outputs = batch.step([((3,), hop), ((4, 5), hops)])
    state = batch.extract((3,))                     # goes on alone

A stream whose state is not yet as all its later ones, at its beginning, is stepped alone until it is. An
engine that cannot step streams together steps all of them alone: the answers are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from audiotool.errors import StreamError

if TYPE_CHECKING:
    from audiotool.engines.base import Chunk, Engine, State

Rows = tuple[int, ...]
"""The rows of a stream, one for each of its own batch's: (B,)."""

Member = tuple[Rows, "Chunk"]
"""A stream's rows and its next hop, (B, C, engine.hop_length)."""


class Batch:
    """The states of many streams; this one steps each of them alone.

    Args:
        engine: causal.
        capacity: rows.
    """

    def __init__(self, engine: Engine, capacity: int) -> None:
        if not engine.causal:
            raise StreamError(f"{engine.name} looks ahead: only causal models step many streams together")
        self.engine = engine
        self.capacity = capacity
        self._alone: dict[Rows, Any] = {}

    def insert(self, rows: Rows, state: State) -> None:
        """Put a stream's state into rows; what was there is forgotten."""
        self._alone.pop(rows, None)
        if not self._absorb(rows, state):
            self._alone[rows] = state

    def extract(self, rows: Rows) -> State:
        """A stream's state, for `engine.step`; it stays as it is when the batch goes on."""
        return self._alone[rows] if rows in self._alone else self._taken(rows)

    def step(self, members: Sequence[Member]) -> list[Chunk]:
        """The next hop of some streams, in any order: (B, stems * C, T) of each, with T >= 0."""
        outputs: dict[Rows, Chunk] = {}
        together = [member for member in members if member[0] not in self._alone]
        if together:
            outputs.update(self._step(together))
        for rows, x in members:
            if rows not in outputs:
                outputs[rows], state = self.engine.step(x, self._alone[rows])
                self.insert(rows, state)
        return [outputs[rows] for rows, _ in members]

    def _absorb(self, rows: Rows, state: State) -> bool:
        """Take a state into the common arrays, where it is one that can be stepped with others."""
        return False

    def _taken(self, rows: Rows) -> State:
        """The inverse."""
        raise KeyError(rows)

    def _step(self, members: Sequence[Member]) -> dict[Rows, Chunk]:
        """Step streams that were absorbed."""
        raise NotImplementedError


def joined(members: Sequence[Member]) -> tuple[list[int], Chunk]:
    """All rows, and their hops (rows, C, T)."""
    rows = [row for own, _ in members for row in own]
    return rows, np.concatenate([x for _, x in members])


def parted(members: Sequence[Member], output: Chunk) -> dict[Rows, Chunk]:
    """An output (rows, …) by stream."""
    found, first = {}, 0
    for rows, _ in members:
        found[rows] = output[first : first + len(rows)]
        first += len(rows)
    return found


def selection(rows: list[int]) -> slice | list[int]:
    """Rows as a slice where they lie side by side: arrays are then not copied."""
    begin, count = rows[0], len(rows)
    return slice(begin, begin + count) if rows == list(range(begin, begin + count)) else rows
