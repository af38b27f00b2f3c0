"""A queue of samples between two threads, of a fixed size, that nobody waits for."""

from __future__ import annotations

import numpy as np

from audiotool.live.backend import Samples


class Ring:
    """Samples of one channel; one thread writes and one reads.

    Positions are counted from the beginning, so that time stays true: what was read before it was written is
    silence, and is dropped when it comes. Nothing is allocated but what `read` returns without `into`.

    Args:
        capacity: samples.
    """

    def __init__(self, capacity: int) -> None:
        self._samples = np.zeros(capacity, np.float32)
        self._written = 0
        self._read = 0

    @property
    def ready(self) -> int:
        """Samples that can be read."""
        return max(0, self._written - self._read)

    def write(self, samples: Samples) -> bool:
        """Append (time,); False, and nothing is, where there is no room."""
        size, count = len(self._samples), len(samples)
        if self._written + count - self._read > size:
            return False
        begin = self._written % size
        head = min(count, size - begin)
        self._samples[begin : begin + head] = samples[:head]
        self._samples[: count - head] = samples[head:]
        # Last: from here on the reader may take them.
        self._written += count
        return True

    def read(self, count: int, into: Samples | None = None) -> tuple[Samples, int]:
        """The next samples, and how many of them had not been written yet and are silence."""
        size, begin = len(self._samples), self._read % len(self._samples)
        taken = np.empty(count, np.float32) if into is None else into
        there = min(count, self.ready)
        head = min(there, size - begin)
        taken[:head] = self._samples[begin : begin + head]
        taken[head:there] = self._samples[: there - head]
        taken[there:] = 0.0
        self._read += count
        return taken, count - there
