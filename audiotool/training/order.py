"""The order of examples in each process.

Examples are numbered without end. A step takes the next `accumulate * world_size * batch_size` of them:

    step 0      accumulation 0                accumulation 1
                rank 0: 0 1   rank 1: 2 3     rank 0: 4 5   rank 1: 6 7
    step 1      rank 0: 8 9   ...

The order depends on the number of the next example alone, so a resumed run continues exactly. Two processes
get the same examples as one process with twice the batch size.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch.utils.data import Sampler


class GlobalOrder(Sampler[list[int]]):
    """Batches of example numbers for one process.

    Args:
        start: number of the next example.
        steps: number of optimiser steps to come.
        batch_size, accumulate: of the recipe.
        rank, world_size: index of this process, and number of processes.
    """

    def __init__(
        self, start: int, steps: int, batch_size: int, accumulate: int, rank: int = 0, world_size: int = 1
    ) -> None:
        self.start = start
        self.batches = steps * accumulate
        self.batch_size = batch_size
        self.rank = rank
        self.world_size = world_size

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[int]]:
        for batch in range(self.batches):
            first = self.start + (batch * self.world_size + self.rank) * self.batch_size
            yield list(range(first, first + self.batch_size))
