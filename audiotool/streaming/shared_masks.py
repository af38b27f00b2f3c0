"""Separate all channels of a recording by the masks of their mono mix, so that a stem is one speaker in each.

A model of one channel that processed each by itself might give a speaker to one stem in the left channel and
to another in the right. The model therefore gets the mono mix only. The complex ratio of each stem to the
mix, in every bin of a short-time spectrum, is the mask of every channel.

    channels ──┬── mono mix ──┬── model ── stems ──┐
               │              └────────────────── masks ──(x)── stems of every channel
               └───────────────────────────────────────────┘

Channels that are equal but for their levels get the model's stems at these levels.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from audiotool.engines.base import Engine, are_interchangeable
from audiotool.streaming.carried import Carrier
from audiotool.streaming.downmix import StreamingDownmix
from audiotool.streaming.queue import SampleQueue

HOP_SECONDS = 0.016
GREATEST = 2.0
"""Greatest absolute value of a mask; the ratio is meaningless where the mix cancels a channel."""
TINY = 1e-12
"""Power (of a bin, full scale 1) that keeps the ratio finite in silence."""


def are_separated_together(engine: Engine, channels: int) -> bool:
    """Return whether the model takes the mono mix of so many channels: it separates speakers and has one
    channel."""
    return are_interchangeable(engine.stems) and engine.channels == 1 and channels > 1


class SharedMasks(Carrier):
    """Computes the mono mix for a model, and the stems of every channel from those of the mix.

    Args:
        sample_rate: Hz of the signals.
        stems, channels: number of stems and of channels.
    """

    carries = ("_downmix", "_waiting", "_rows", "_sums", "_early")

    def __init__(self, sample_rate: int, stems: int, channels: int) -> None:
        self.hop = max(1, round(HOP_SECONDS * sample_rate))
        self.channels = channels
        # The square root of a periodic Hann window.
        self._window = np.sin(np.pi * np.arange(2 * self.hop) / (2 * self.hop)).astype(np.float32)
        self._downmix = StreamingDownmix(channels)
        # Channels and their mix, until the model has returned the stems of the same samples.
        self._waiting = SampleQueue(channels + 1)
        # Channels, mix and stems from the next frame's first sample on.
        self._rows = np.zeros((channels + 1 + stems, self.hop), np.float32)
        self._sums = np.zeros((stems, channels, self.hop), np.float32)
        self._early = self.hop  # samples from before the stream that frames still give

    @property
    def latency(self) -> int:
        """Greatest lag of the stems of the channels behind those of the mix, in samples."""
        return 2 * self.hop - 1

    def latency_behind(self, step: int, first: int) -> int:
        """Return the latency behind a model that works in steps, in samples.

        After n steps `first + n * step` samples of the mix's stems have come. Where those are always whole
        frames, the latency is one hop.

        Args:
            step: samples of a step of the model.
            first: samples of output that the first step gives more than the others; negative for fewer.
        """
        common = math.gcd(step, self.hop)
        return 2 * self.hop - common + first % common

    def mix(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the mono mix (1, time) of the next samples of the channels (channels, time)."""
        mixed = self._downmix.feed(block)
        self._waiting.push(np.concatenate((block, mixed)))
        return mixed

    def feed(self, stems: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the stems of the channels (stems, channels, time') for stems of the mix (stems, 1, time)."""
        waiting = self._waiting.pop(stems.shape[-1])
        return self._advance(np.concatenate((waiting, stems[:, 0])))

    def flush(self) -> NDArray[np.float32]:
        """End the stream and return the last samples of the stems."""
        left = self._rows.shape[-1] - self._early
        return self._advance(np.zeros((len(self._rows), 2 * self.hop), np.float32))[..., :left]

    def _advance(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take channels, mix and stems, (rows, time); return what is complete."""
        rows = np.concatenate((self._rows, rows), axis=-1)
        frames = max(0, rows.shape[-1] // self.hop - 1)
        self._rows = rows[:, frames * self.hop :].copy()
        if not frames:
            return self._sums[..., :0]
        cut = np.lib.stride_tricks.sliding_window_view(rows, 2 * self.hop, axis=-1)
        spec = np.fft.rfft(cut[:, : frames * self.hop : self.hop] * self._window)
        parts = np.fft.irfft(self._masked(spec), 2 * self.hop).astype(np.float32) * self._window
        added = np.zeros((*self._sums.shape[:2], frames + 1, self.hop), np.float32)
        added[:, :, 0] = self._sums
        added[:, :, :-1] += parts[..., : self.hop]
        added[:, :, 1:] += parts[..., self.hop :]
        self._sums = added[:, :, -1].copy()
        output = added[:, :, :-1].reshape(*self._sums.shape[:2], frames * self.hop)
        early, self._early = self._early, 0
        return output[..., early:]

    def _masked(self, spec: NDArray[np.complexfloating]) -> NDArray[np.complexfloating]:
        """Channels, mix and stems (rows, frames, bins) -> (stems, channels, frames, bins)."""
        channels, mixed, stems = np.split(spec, (self.channels, self.channels + 1))
        masks = stems * mixed.conj() / (np.square(np.abs(mixed)) + TINY)
        masks /= np.maximum(1, np.abs(masks) / GREATEST)
        masked: NDArray[np.complexfloating] = masks[:, None] * channels
        return masked
