"""The first pass over a recording: measure what its model needs before processing, block by block."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiotool.audio.channels import fold
from audiotool.dsp.bandwidth import BandwidthMeter
from audiotool.dsp.level import Level
from audiotool.engines.base import Chunk, Engine
from audiotool.errors import StreamError
from audiotool.streaming.downmix import StreamingDownmix
from audiotool.streaming.onset import Onsets
from audiotool.streaming.resample import StreamingResampler
from audiotool.streaming.shared_masks import are_separated_together
from audiotool.streaming.streamer import SHORTEST_WARM_UP

LONGEST_LEAD_IN = 10.0
"""Seconds from the beginning of a recording in which the warm-up's sound may begin."""


class FirstPass:
    """Measure a recording's level and bandwidth, and the model's state after the recording's first sound.

    The level is measured at the model's sample rate, the bandwidth at the recording's. The warm-up of a model
    whose streams reset their state at onsets (`Engine.forgets_quiet`) begins at the first onset of the first
    ten seconds, because a warm-up on the quiet before speech is as good as none. Without an onset, and for
    other models, it begins with the recording.

    Args:
        engine: its `uses_level`, `extends_from_hz` and `warm_up_seconds` say what is measured.
        sample_rate: Hz of the recording.
        channels: number of channels of the recording.
        warm_up: False: do not run the model over the beginning.
        whole: False: do not measure level and bandwidth, which need the whole recording, and let the warm-up
            begin with the recording.
    """

    def __init__(
        self, engine: Engine, sample_rate: int, channels: int, warm_up: bool = True, whole: bool = True
    ) -> None:
        self._engine = engine
        self._channels = channels
        self._level = LevelMeter() if whole and engine.uses_level else None
        extends = whole and engine.extends_from_hz is not None
        self._bandwidth = BandwidthMeter(sample_rate) if extends else None
        # At the model's sample rate: the beginning of the recording, and the samples of it still to come.
        self._beginning: list[Chunk] = []
        lead_in = LONGEST_LEAD_IN if whole and engine.forgets_quiet else 0.0
        seconds = engine.warm_up_seconds + lead_in if warm_up else 0.0
        self._wanted = math.ceil(seconds * engine.sample_rate)
        self._last_onset = math.ceil(lead_in * engine.sample_rate)
        self._down = StreamingResampler(sample_rate, engine.sample_rate, channels)
        together = are_separated_together(engine, channels)
        self._downmix = StreamingDownmix(channels) if together else None

    @property
    def complete(self) -> bool:
        """Whether everything has been measured that needs less than the whole recording."""
        return self._level is None and self._bandwidth is None and not self._wanted

    def feed(self, block: NDArray[np.float32]) -> None:
        """Add a block (channels, time) float32 to the measurement.

        Raises:
            StreamError: the block has another number of channels.
        """
        if block.shape[0] != self._channels:
            raise StreamError(f"this stream has blocks ({self._channels}, time), got {block.shape}")
        if self._bandwidth is not None:
            self._bandwidth.feed(block)
        if self._level is not None or self._wanted:
            self._add(self._at_model(self._down.feed(block)))

    def _add(self, x: Chunk) -> None:
        if self._level is not None:
            self._level.feed(x)
        if self._wanted:
            self._beginning.append(x[..., : self._wanted].copy())
            self._wanted -= self._beginning[-1].shape[-1]

    def conditions(self) -> dict[str, Any]:
        """End the first pass, and return the conditions for the stream; one that could not be measured is
        None.

        Returns:
            `level`, `bandwidth_hz` and `memory` for `Engine.start`, and `memory_begins`, the sample at which
            the streamer begins to use the memory.
        """
        if not self.complete:
            self._add(self._at_model(self._down.flush()))
        found: dict[str, Any] = {}
        if self._level is not None:
            found["level"] = self._level.level()
        if self._bandwidth is not None:
            found["bandwidth_hz"] = self._bandwidth.bandwidth_hz()
        if self._beginning:
            beginning = np.concatenate(self._beginning, axis=-1)
            begins = self._first_sound(beginning)
            sound = beginning[..., begins : begins + self._engine.warm_up_samples]
            found["memory"], found["memory_begins"] = self._engine.warm_up(sound), begins
        return found

    def _first_sound(self, beginning: Chunk) -> int:
        """Return the sample of (B, C, T) at which the warm-up begins.

        It is the first onset. The beginning is 0 where a warm-up from there hears enough of that sound.
        """
        hop, shortest = self._engine.hop_length, round(SHORTEST_WARM_UP * self._engine.sample_rate)
        last = min(self._last_onset, beginning.shape[-1] - shortest)
        found = Onsets(hop, self._engine.sample_rate).find(beginning[..., : max(last, 0)]).any(axis=0)
        first = int(found.argmax()) * hop if found.any() else 0
        return first if first > self._engine.warm_up_samples - shortest else 0

    def _at_model(self, resampled: NDArray[np.float32]) -> Chunk:
        samples = np.asarray(resampled, np.float32)
        return fold(self._downmix.feed(samples) if self._downmix else samples, self._engine.channels)


class LevelMeter:
    """Measure the level of a stream of blocks in constant memory, with sums in float64."""

    def __init__(self) -> None:
        self._count = 0
        self._sum: NDArray[np.float64] | float = 0.0
        self._power: NDArray[np.float64] | float = 0.0

    def feed(self, block: Chunk) -> None:
        """Add a block (batch, channels, time)."""
        flat = block.reshape(len(block), block[0].size).astype(np.float64)
        self._count += flat.shape[1]
        self._sum = self._sum + flat.sum(1)
        self._power = self._power + np.square(flat).sum(1)

    def level(self) -> Level[Chunk] | None:
        """Return the level of all blocks so far; None before the first sample."""
        if not self._count:
            return None
        mean = self._sum / self._count
        spread = np.maximum(self._power - self._count * np.square(mean), 0)
        std = np.sqrt(spread / max(self._count - 1, 1))
        rms = np.sqrt(self._power / self._count)
        return Level(*(np.float32(v).reshape(-1, 1, 1) for v in (std, rms, mean)))
