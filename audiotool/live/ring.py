"""A queue of samples between two threads, of a fixed size and without locks."""

from __future__ import annotations

import numpy as np

from audiotool.live.backend import Samples


class Ring:
    """Queue of the samples of one channel. One thread writes and another reads; neither waits.

    Positions are counted from the beginning of the stream. If samples are read before they are written, the
    reader gets silence, and the late samples are dropped when they are written, however many. The position in
    time is kept. Only `read` without `into` allocates memory.

    Args:
        capacity: greatest number of samples.
    """

    def __init__(self, capacity: int) -> None:
        self._samples = np.zeros(capacity, np.float32)
        self._written = 0
        self._read = 0

    @property
    def ready(self) -> int:
        """Number of samples that can be read."""
        return max(0, self._written - self._read)

    def write(self, samples: Samples) -> bool:
        """Append samples (time,). Return False, without appending any, if they do not fit."""
        size, count, read = len(self._samples), len(samples), self._read
        if self._written + count - read > size:
            return False
        late = min(max(0, read - self._written), count)
        kept, begin = samples[late:], (self._written + late) % size
        head = min(len(kept), size - begin)
        self._samples[begin : begin + head] = kept[:head]
        self._samples[: len(kept) - head] = kept[head:]
        # The count changes last: from then on the reader may take the samples.
        self._written += count
        return True

    def read(self, count: int, into: Samples | None = None) -> tuple[Samples, int]:
        """Read the next samples.

        Args:
            count: number of samples.
            into: (count,) array to fill; None allocates one.
        Returns:
            The samples (count,), and how many of them were not written yet and are silence.
        """
        size, begin = len(self._samples), self._read % len(self._samples)
        taken = np.empty(count, np.float32) if into is None else into
        there = min(count, self.ready)
        head = min(there, size - begin)
        taken[:head] = self._samples[begin : begin + head]
        taken[head:there] = self._samples[: there - head]
        taken[there:] = 0.0
        self._read += count
        return taken, count - there
