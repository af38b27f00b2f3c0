"""The first pass over a recording: measure what its model needs before processing, block by block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from audiotool.audio.channels import fold
from audiotool.dsp.level import Level
from audiotool.engines.base import Chunk, Engine
from audiotool.errors import StreamError
from audiotool.streaming.downmix import StreamingDownmix
from audiotool.streaming.onset import Onsets
from audiotool.streaming.resample import StreamingResampler
from audiotool.streaming.shared_masks import are_separated_together
from audiotool.streaming.streamer import SHORTEST_WARM_UP

if TYPE_CHECKING:
    from audiotool.dsp.bandwidth import BandwidthMeter

SHORTEST_LEAD_IN, LONGEST_LEAD_IN = 1.5, 10.0
"""Seconds from the beginning of a recording: a sound that begins between them is where the warm-up begins."""


class FirstPass:
    """Measure a recording's level and bandwidth, and the model's state after the recording's first sound.

    The level is measured at the model's sample rate, the bandwidth at the recording's. The warm-up of a model
    whose streams reset their state at onsets (`Engine.forgets_quiet`) begins at the first onset where that
    lies between 1.5 and 10 s, because a warm-up on the quiet before speech is as good as none. Else, and for
    other models, it begins with the recording. Each row of the model's batch has its own.

    Args:
        engine: its `uses_level`, `extends_from_hz` and `warm_up_seconds` say what is measured.
        sample_rate: Hz of the recording.
        channels: number of channels of the recording.
        warm_up: False: do not run the model over the beginning.
        whole: False: do not measure level and bandwidth, which need the whole recording, and let the warm-up
            begin with the recording.
        bandwidth: False: do not measure the bandwidth, which is given.
    """

    def __init__(
        self,
        engine: Engine,
        sample_rate: int,
        channels: int,
        warm_up: bool = True,
        whole: bool = True,
        bandwidth: bool = True,
    ) -> None:
        self._engine = engine
        self._channels = channels
        self._level = LevelMeter() if whole and engine.uses_level else None
        self._bandwidth: BandwidthMeter | None = None
        if whole and bandwidth and engine.extends_from_hz is not None:
            from audiotool.dsp.bandwidth import BandwidthMeter

            self._bandwidth = BandwidthMeter(sample_rate)
        wanted = warm_up and engine.warm_up_seconds > 0
        self._search = whole and engine.forgets_quiet
        # One for each row of the model's batch; before the first block their number is not known.
        self._sounds: list[FirstSound] | None = [] if wanted else None
        self._down = StreamingResampler(sample_rate, engine.sample_rate, channels)
        together = are_separated_together(engine, channels)
        self._downmix = StreamingDownmix(channels) if together else None

    @property
    def complete(self) -> bool:
        """Whether everything has been measured that needs less than the whole recording."""
        measured = self._level is None and self._bandwidth is None
        return measured and self._has_sounds

    @property
    def _has_sounds(self) -> bool:
        """Whether the warm-up needs no more."""
        if self._sounds is None:
            return True
        return bool(self._sounds) and all(sound.complete for sound in self._sounds)

    def feed(self, block: NDArray[np.float32]) -> None:
        """Add a block (channels, time) float32 to the measurement.

        Raises:
            StreamError: the block has another number of channels.
        """
        if block.shape[0] != self._channels:
            raise StreamError(f"this stream has blocks ({self._channels}, time), got {block.shape}")
        if self._bandwidth is not None:
            self._bandwidth.feed(block)
        # Where the bandwidth alone is measured any longer, nothing need be resampled.
        if self._level is not None or not self._has_sounds:
            self._add(self._at_model(self._down.feed(block)))

    def _add(self, x: Chunk) -> None:
        if self._level is not None:
            self._level.feed(x)
        if self._sounds is None:
            return
        if not self._sounds:
            self._sounds = [FirstSound(self._engine, self._search) for _ in x]
        for row, sound in enumerate(self._sounds):
            sound.feed(x[row : row + 1])

    def conditions(self) -> dict[str, Any]:
        """End the first pass, and return the conditions for the stream; one that could not be measured is
        None.

        Returns:
            `level` and `bandwidth_hz`, (B, 1, 1) in Hz, for `Engine.start`, and for the streamer `memory`,
            the state after the warm-up, and `memory_begins` (B,), the sample at which the warm-up's sound
            begins in each row.
        """
        if not self.complete:
            self._add(self._at_model(self._down.flush()))
        found: dict[str, Any] = {}
        if self._level is not None:
            found["level"] = self._level.level()
        if self._bandwidth is not None:
            found["bandwidth_hz"] = self._bandwidths(self._bandwidth)
        if self._sounds:
            found["memory"] = self._warm_up([sound.samples() for sound in self._sounds])
            found["memory_begins"] = np.array([sound.begins for sound in self._sounds])
        return found

    def _warm_up(self, sounds: list[Chunk]) -> Any:
        """Return the memory of one sound (1, channels, time) for each row."""
        if len({sound.shape[-1] for sound in sounds}) == 1:
            return self._engine.warm_up(np.concatenate(sounds))
        return self._engine.join_memories([self._engine.warm_up(sound) for sound in sounds])

    def _bandwidths(self, meter: BandwidthMeter) -> Chunk | None:
        """Return the bandwidth of each row of the model's batch: the widest of its channels, and of all
        where a row is silent."""
        widest = meter.bandwidth_hz()
        if widest is None:
            return None
        found = np.array([[edge or 0.0] for edge in meter.bandwidths_hz()], np.float32)
        rows = fold(found, self._engine.channels).max(axis=1, keepdims=True)
        return np.where(rows > 0, rows, np.float32(widest))

    def _at_model(self, resampled: NDArray[np.float32]) -> Chunk:
        samples = np.asarray(resampled, np.float32)
        return fold(self._downmix.feed(samples) if self._downmix else samples, self._engine.channels)


class FirstSound:
    """Collect what the warm-up of a row hears, block by block: the beginning of a recording, or its first
    sound.

    Args:
        engine: its `warm_up_samples` are collected.
        search: look for the first onset in the first ten seconds. One in the first one and a half is left to
            a warm-up from the beginning.

    Attributes:
        begins: sample, at the model's rate, at which what is collected begins.
    """

    def __init__(self, engine: Engine, search: bool) -> None:
        self.begins = 0
        self._length = engine.warm_up_samples
        self._shortest = round(SHORTEST_WARM_UP * engine.sample_rate)
        self._hop = engine.hop_length
        self._onsets = Onsets(engine.hop_length, engine.sample_rate)
        self._earliest = round(SHORTEST_LEAD_IN * engine.sample_rate)
        self._last = round(LONGEST_LEAD_IN * engine.sample_rate) if search else 0
        # The beginning, what comes from the onset on, and what is searched next (less than a hop).
        self._beginning: Chunk | None = None
        self._from_onset: Chunk | None = None
        self._rest: Chunk | None = None
        self._searched = 0

    @property
    def complete(self) -> bool:
        """Whether nothing more is wanted."""
        collected = self._beginning if self._from_onset is None else self._from_onset
        full = collected is not None and collected.shape[-1] >= self._length
        return full and self._searched >= self._last

    def feed(self, x: Chunk) -> None:
        """Add a block (1, channels, time) at the model's sample rate."""
        self._beginning = self._lengthened(self._beginning, x)
        if self._from_onset is not None:
            self._from_onset = self._lengthened(self._from_onset, x)
        elif self._searched < self._last:
            self._search(x)

    def _search(self, x: Chunk) -> None:
        x = x if self._rest is None else np.concatenate((self._rest, x), axis=-1)
        (found,) = self._onsets.find(x)
        if not found.any():
            whole = len(found) * self._hop
            self._rest, self._searched = x[..., whole:].copy(), self._searched + whole
            return
        first = int(found.argmax()) * self._hop
        onset, self._searched = self._searched + first, self._last
        if self._earliest < onset < self._last:
            self.begins, self._from_onset = onset, self._lengthened(None, x[..., first:])

    def _lengthened(self, collected: Chunk | None, x: Chunk) -> Chunk:
        missing = self._length - (0 if collected is None else collected.shape[-1])
        if collected is None:
            return x[..., :missing].copy()
        return np.concatenate((collected, x[..., :missing]), axis=-1) if missing else collected

    def samples(self) -> Chunk:
        """Return (1, channels, time), at most the length of a warm-up. A block has been fed."""
        if self._from_onset is not None and self._from_onset.shape[-1] < self._shortest:
            self.begins, self._from_onset = 0, None
        assert self._beginning is not None
        return self._beginning if self._from_onset is None else self._from_onset


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
