"""Stream a model that looks ahead: segments with context on both sides, cross-faded where needed.

Exact context (the model declares its receptive field):

    input     ....[ before |  segment  | after ]....
    output                 |  segment  |              nothing to cross-fade: equals whole-file output

Unbounded context (attention over all frames, normalisation by the utterance): neighbouring segments overlap,
and a raised cosine fades one into the next. The output differs from whole-file output, and each model's
documentation says by how much. Interchangeable stems may come in another order in the next segment. They are
then reordered to match the segment before over the cross-fade.
"""

from __future__ import annotations

import itertools
import math
from typing import Any, ClassVar

import numpy as np

from audiotool.engines.base import Chunk, Engine, are_interchangeable
from audiotool.streaming.streamer import Streamer

SEGMENT_SECONDS = 10.0
OVERLAP_SECONDS = 1.0


class OverlapAddStreamer(Streamer):
    """Stream an engine that is not causal, in constant memory.

    Args:
        segment: input items whose output one pass of the model adds; None is ten seconds.
        overlap: items of cross-fade, used only when the engine has no exact context; None is one second.

    Segments begin on multiples of `engine.hop_length`, so that framing is the whole file's.
    """

    carries: ClassVar[tuple[str, ...]] = (
        *Streamer.carries,
        "_window",
        "_window_start",
        "_position",
        "_fading",
    )

    def __init__(
        self, engine: Engine, segment: int | None = None, overlap: int | None = None, **conditions: Any
    ) -> None:
        hop = engine.hop_length
        items_per_second = engine.sample_rate / engine.upsampling
        self.segment = _ceil(segment or round(SEGMENT_SECONDS * items_per_second), hop)
        if engine.context is None:
            wanted = round(OVERLAP_SECONDS * items_per_second) if overlap is None else overlap
            self.overlap = min(_ceil(wanted, hop), self.segment)
            # A context of half the overlap keeps the edges of a segment out of the cross-fade.
            self.before = self.after = _ceil(self.overlap // 2, hop)
        else:
            self.overlap = 0
            self.before, self.after = (_ceil(c, hop) for c in engine.context)
        super().__init__(engine, **conditions)

    @property
    def latency(self) -> int:
        return (self.segment + self.overlap + self.after) * self.engine.upsampling

    def reset(self) -> None:
        super().reset()
        self._window: Chunk | None = None
        self._window_start = 0
        self._position = 0
        self._fading: Chunk | None = None

    def _advance(self) -> Chunk:
        outputs = []
        self._extend()
        while self._consumed >= self._position + self.segment + self.overlap + self.after:
            outputs.append(self._segment(final=False))
        return np.concatenate(outputs, axis=-1) if outputs else self._nothing()

    def _flush(self) -> Chunk:
        self._extend()
        outputs = []
        while self._consumed > self._position + self.segment + self.overlap:
            outputs.append(self._segment(final=False))
        outputs.append(self._segment(final=True))
        return np.concatenate(outputs, axis=-1)

    def _extend(self) -> None:
        new = self._take(self._pending_length)
        self._window = new if self._window is None else np.concatenate((self._window, new), axis=-1)

    def _segment(self, final: bool) -> Chunk:
        """Run the model over one segment and advance by it."""
        assert self._window is not None
        scale = self.engine.upsampling
        start = max(self._position - self.before, 0)
        ahead = self._position + self.segment + self.overlap + self.after
        stop = self._consumed if final else min(ahead, self._consumed)
        x = self._window[..., start - self._window_start : stop - self._window_start]
        place = {"position": start} if self.engine.uses_position else {}
        y = self.engine.process(x, **self.conditions, **place)
        y = y[..., (self._position - start) * scale :]
        if self._fading is not None:
            if are_interchangeable(self.engine.stems):
                y = align_stems(y, self._fading, len(self.engine.stems))
            width = min(self._fading.shape[-1], y.shape[-1])
            ramp = np.arange(1, width + 1, dtype=y.dtype) / (width + 1)
            gain = (0.5 - 0.5 * np.cos(math.pi * ramp)).astype(y.dtype)
            faded = y[..., :width] * gain + self._fading[..., :width] * (1 - gain)
            y = np.concatenate((faded, y[..., width:]), axis=-1)
        if final:
            return y
        fading = y[..., self.segment * scale : (self.segment + self.overlap) * scale]
        self._fading = fading if self.overlap else None
        self._position += self.segment
        keep_from = max(self._position - self.before, 0)
        self._window = self._window[..., keep_from - self._window_start :].copy()
        self._window_start = keep_from
        return y[..., : self.segment * scale]


def align_stems(y: Chunk, before: Chunk, stems: int) -> Chunk:
    """Reorder the stems of a segment so that they continue those of the segment before.

    Args:
        y: (B, stems * C, T) a segment, from the beginning of the cross-fade.
        before: (B, stems * C, W) the segment before, over the cross-fade.
    Returns:
        y with each row's stems in the order that has the greatest sum of inner products with `before`, and so
        the least squared difference.
    """
    width = min(y.shape[-1], before.shape[-1])
    batch, rows, length = y.shape
    new, old = (w[..., :width].reshape(batch, stems, rows // stems * width) for w in (y, before))
    likeness = old @ new.transpose(0, 2, 1)
    orders = list(itertools.permutations(range(stems)))
    aligned = []
    for row, table in zip(y.reshape(batch, stems, rows // stems, length), likeness, strict=True):
        sums = [sum(float(table[n, order[n]]) for n in range(stems)) for order in orders]
        # Of equal sums the first is taken, which is the model's order: silence changes nothing.
        aligned.append(row[list(orders[sums.index(max(sums))])])
    return np.stack(aligned).reshape(y.shape)


def _ceil(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple
