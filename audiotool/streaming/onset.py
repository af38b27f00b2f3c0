"""Find the onsets of a stream: where sound begins after quiet."""

from __future__ import annotations

import copy
import itertools

import numpy as np
from numpy.typing import NDArray

from audiotool.engines.base import Chunk
from audiotool.streaming.carried import Carrier

LOUDER = 16.0
"""Ratio of powers from which a hop is an onset: 12 dB. With 6 dB and less more noise passes, and
mixtures lose (docs/experiments.md)."""
GAP_SECONDS = 0.1
"""Seconds before a hop that are not compared with it, because a sound may swell for as long."""
SILENCE = 1e-12
"""Power (-120 dBFS) that is added to the power of every hop: the power of digital silence."""

Rows = NDArray[np.bool_]


class Onsets(Carrier):
    """Find the hops that are 12 dB louder than everything before them, the last tenth of a second left out.

    At an onset the state of a recurrent model describes the quiet before it (hiss, digital silence) and not
    the sound that begins. Speech in noise has no onsets, nor has a word after a pause: sound as loud came
    before. The first tenth of a second of a stream has none either.

    Args:
        hop_length: samples in a hop.
        sample_rate: Hz.
    """

    carries = ("_loudest", "_recent", "_louder")

    def __init__(self, hop_length: int, sample_rate: int) -> None:
        self._hop = hop_length
        self._gap = max(1, round(GAP_SECONDS * sample_rate / hop_length))
        # Per row: the loudest hop before the gap, the hops in it, and which of them were louder than before.
        self._loudest: Chunk | None = None
        self._recent: Chunk = np.zeros((0, 0))
        self._louder: Rows = np.zeros((0, 0), bool)

    def take(self, rows: list[int]) -> Onsets:
        """Return the state of the given rows alone."""
        part = copy.copy(self)
        if self._loudest is not None:
            part._loudest = self._loudest[rows]
            part._recent, part._louder = self._recent[rows], self._louder[rows]
        return part

    def put(self, rows: list[int], part: Onsets, capacity: int) -> None:
        """Replace rows of a batch of `capacity` rows by those of `part`, which may have seen no input yet."""
        if self._loudest is None:
            self._begin(capacity)
        if part._loudest is None:
            part = copy.copy(part)
            part._begin(len(rows))
        assert self._loudest is not None
        self._loudest[rows], self._recent[rows], self._louder[rows] = (
            part._loudest,
            part._recent,
            part._louder,
        )

    def _begin(self, batch: int) -> None:
        self._loudest, self._recent = np.zeros((batch, 1)), np.zeros((batch, self._gap))
        self._louder = np.ones((batch, self._gap), bool)

    def find(self, x: Chunk) -> Rows:
        """Return whether each hop of a chunk is an onset: (B, C, T) -> bool (B, hops).

        The chunk begins at a hop. Samples after its last whole hop, at the stream's end, are ignored.
        """
        batch, hops, gap = x.shape[0], x.shape[-1] // self._hop, self._gap
        if self._loudest is None:
            self._begin(batch)
            assert self._loudest is not None
        if not hops:
            return np.zeros((batch, 0), bool)
        whole = x[..., : hops * self._hop].reshape(batch, x.shape[1], hops, self._hop)
        power = np.einsum("bcht,bcht->bh", whole, whole, dtype=np.float64) / (x.shape[1] * self._hop)
        powers = np.concatenate((self._recent, power), axis=1)
        before = np.concatenate((self._loudest, powers[:, : hops - 1]), axis=1)
        before = np.maximum.accumulate(before, axis=1)
        found = power > LOUDER * (before + SILENCE)
        louder = np.concatenate((self._louder, found), axis=1)
        self._loudest = np.maximum(before[:, -1:], powers[:, hops - 1 : hops])
        self._recent, self._louder = powers[:, -gap:], louder[:, -gap:]
        if not found.any():
            # Most hops of a live stream are no onset and should cost little.
            return found
        # Number of louder hops in the gap before each hop.
        counts = np.zeros((batch, louder.shape[1] + 1), np.intp)
        np.cumsum(louder, axis=1, out=counts[:, 1:])
        return found & (counts[:, gap:-1] == counts[:, :hops])

    def runs(self, x: Chunk) -> list[tuple[int, int, Rows | None]]:
        """Split a chunk (B, C, T) at its onsets.

        Returns:
            (first sample, end, bool (B,): rows with an onset there, or None) of each part.
        """
        begins = self.find(x)
        if not begins.any():
            return [(0, x.shape[-1], None)]
        found = set(np.flatnonzero(begins.any(axis=0)).tolist())
        edges = [hop * self._hop for hop in sorted({0, *found})] + [x.shape[-1]]
        return [
            (first, end, begins[:, first // self._hop] if first // self._hop in found else None)
            for first, end in itertools.pairwise(edges)
        ]
