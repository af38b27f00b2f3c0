"""A queue of samples along the time axis."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from audiotool.streaming.carried import Carrier, Value, check_alike


class SampleQueue(Carrier):
    """First in, first out along the last axis, float32.

    Args:
        leading: sizes of the axes before time.
    """

    def __init__(self, *leading: int) -> None:
        self._blocks: list[NDArray[np.float32]] = []
        self._empty = np.zeros((*leading, 0), np.float32)
        self.length = 0

    def state(self) -> Value:
        return np.concatenate((self._empty, *self._blocks), axis=-1)

    def restore(self, state: Value) -> None:
        check_alike(self._empty, state)
        self._blocks, self.length = [], 0
        self.push(state.copy())

    def push(self, block: NDArray[np.float32]) -> None:
        """Append (..., time)."""
        if block.shape[-1]:
            self._blocks.append(block)
            self.length += block.shape[-1]

    def pop(self, length: int) -> NDArray[np.float32]:
        """Remove and return the first `length` samples; there must be as many."""
        if length == 0:
            return self._empty
        joined = self._blocks[0] if len(self._blocks) == 1 else np.concatenate(self._blocks, axis=-1)
        # A view would keep the memory of the whole block.
        self._blocks = [joined[..., length:].copy()] if joined.shape[-1] > length else []
        self.length -= length
        return joined[..., :length]
