"""Where a stream that was quiet begins to sound."""

from __future__ import annotations

import copy
import itertools

import numpy as np
from numpy.typing import NDArray

from audiotool.engines.base import Chunk
from audiotool.streaming.carried import Carrier

LOUDER = 100.0
"""A ratio of powers: 20 dB."""
GAP_SECONDS = 0.1
"""A sound that swells is compared with what was heard before it began to."""
SILENCE = 1e-12
"""A power, -120 dB of full scale: digital silence counts as this loud."""

Rows = NDArray[np.bool_]


class Onsets(Carrier):
    """Find the hops of a stream that are 20 dB louder than all before the last tenth of a second.

    What a stream has held until then (a room's hiss, digital silence) tells nothing of what begins. Speech in
    noise, and words between pauses, are no onsets: something as loud has been heard before. Nor is what a
    stream begins with, for as long as the gap.

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
        """Some rows of many streams, all of which are as old as they are."""
        part = copy.copy(self)
        if self._loudest is not None:
            part._loudest = self._loudest[rows]
            part._recent, part._louder = self._recent[rows], self._louder[rows]
        return part

    def put(self, rows: list[int], part: Onsets, capacity: int) -> None:
        """Let rows of `capacity` be as those of `part`; one that has heard nothing yet begins there."""
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
        """(B, C, T), a chunk that begins with a whole hop -> (B, hops), whether a sound begins there.

        Samples after the last whole hop, at the stream's end, begin nothing.
        """
        batch, hops, gap = x.shape[0], x.shape[-1] // self._hop, self._gap
        if self._loudest is None:
            self._begin(batch)
            assert self._loudest is not None
        if not hops:
            return np.zeros((batch, 0), bool)
        whole = x[..., : hops * self._hop].reshape(batch, x.shape[1], hops, self._hop)
        power = np.einsum("bcht,bcht->bh", whole, whole, dtype=np.float64) / (x.shape[1] * self._hop)
        heard = np.concatenate((self._recent, power), axis=1)
        before = np.concatenate((self._loudest, heard[:, : hops - 1]), axis=1)
        before = np.maximum.accumulate(before, axis=1)
        louder = np.concatenate((self._louder, power > LOUDER * (before + SILENCE)), axis=1)
        until = np.lib.stride_tricks.sliding_window_view(louder[:, :-1], gap, axis=1).any(-1)
        self._loudest = np.maximum(before[:, -1:], heard[:, hops - 1 : hops])
        self._recent, self._louder = heard[:, -gap:], louder[:, -gap:]
        return louder[:, gap:] & ~until

    def runs(self, x: Chunk) -> list[tuple[int, int, Rows | None]]:
        """Parts of a chunk between onsets: (first sample, end, rows (B,) in which a sound begins there)."""
        begins = self.find(x)
        found = set(np.flatnonzero(begins.any(axis=0)).tolist())
        edges = [hop * self._hop for hop in sorted({0, *found})] + [x.shape[-1]]
        return [
            (first, end, begins[:, first // self._hop] if first // self._hop in found else None)
            for first, end in itertools.pairwise(edges)
        ]
