"""What a model asks to know of a recording, measured block by block before it is processed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audiotool.audio.channels import fold
from audiotool.dsp.bandwidth import BandwidthMeter
from audiotool.errors import StreamError
from audiotool.models.base import Level, Model, are_interchangeable
from audiotool.streaming.resample import StreamingResampler


class FirstPass:
    """Measure a recording for a model: its level at the model's rate, its bandwidth at its own; rehearse it.

    Args:
        model: says with `uses_level`, `extends_from_hz` and `rehearses_seconds` what it asks for.
        sample_rate: Hz of the recording.
        channels: of the recording.
        rehearse: False leaves `rehearses_seconds` out.
        whole: False measures nothing that asks for more than a beginning.
    """

    def __init__(
        self, model: Model, sample_rate: int, channels: int, rehearse: bool = True, whole: bool = True
    ) -> None:
        self._model = model
        self._channels = channels
        self._device = next(model.parameters()).device
        self._level = LevelMeter() if whole and model.uses_level else None
        extends = whole and model.extends_from_hz is not None
        self._bandwidth = BandwidthMeter(sample_rate) if extends else None
        self._beginning: list[NDArray[np.float32]] = []
        self._wanted = math.ceil(model.rehearses_seconds * sample_rate) if rehearse else 0
        self._down = StreamingResampler(sample_rate, model.sample_rate, channels)

    @property
    def complete(self) -> bool:
        """Whether the model asks for nothing more of the recording."""
        return self._level is None and self._bandwidth is None and not self._wanted

    def feed(self, block: NDArray[np.float32]) -> None:
        """Count (channels, time) in.

        Raises:
            StreamError: other channels than the recording's.
        """
        if block.shape[0] != self._channels:
            raise StreamError(f"this stream has blocks ({self._channels}, time), got {block.shape}")
        if self._bandwidth is not None:
            self._bandwidth.feed(torch.from_numpy(np.array(block, np.float32))[None])
        if self._level is not None:
            self._level.feed(self._at_model(self._down.feed(block)))
        if self._wanted:
            self._beginning.append(np.array(block[:, : self._wanted], np.float32))
            self._wanted -= self._beginning[-1].shape[1]

    def finish(self) -> dict[str, Any]:
        """Conditions for the model's streams; what could not be measured is None."""
        found: dict[str, Any] = {}
        if self._level is not None:
            self._level.feed(self._at_model(self._down.flush()))
            found["level"] = self._level.level()
        if self._bandwidth is not None:
            found["bandwidth_hz"] = self._bandwidth.bandwidth_hz()
        if self._beginning:
            self._down.reset()
            beginning = self._down.feed(np.concatenate(self._beginning, axis=1))
            beginning = np.concatenate((beginning, self._down.flush()), axis=1)
            if are_interchangeable(self._model.stems) and self._model.channels == 1:
                beginning = heard_alike(beginning)
            with torch.inference_mode():
                found["memory"] = self._model.rehearse(self._at_model(beginning))
        return found

    def _at_model(self, resampled: NDArray[np.float32]) -> Tensor:
        waveform = torch.from_numpy(np.array(resampled, np.float32, order="C")).to(self._device)
        return fold(waveform, self._model.channels)


def heard_alike(channels: NDArray[np.float32]) -> NDArray[np.float32]:
    """What all channels (channels, time) hear, at the level of each.

    Whoever is rehearsed with it is called the same in all of them. Channels of the other polarity are turned
    before they are averaged: they would cancel.
    """
    likeness = channels @ channels.T
    loudest = int(np.argmax(np.diagonal(likeness)))
    signs = np.where(likeness[loudest] < 0, np.float32(-1), np.float32(1))
    together = (signs[:, None] * channels).mean(axis=0)
    power = float(together @ together)
    gains = np.sqrt(np.diagonal(likeness) / power) if power else np.ones(len(channels))
    return gains[:, None].astype(np.float32) * together


class LevelMeter:
    """Level of a stream of blocks, equal to `Level.of` of the whole; sums in float64, constant memory."""

    def __init__(self) -> None:
        self._count = 0
        self._sum: Tensor | None = None
        self._power: Tensor | None = None

    def feed(self, block: Tensor) -> None:
        """Count (batch, channels, time) in."""
        flat = block.flatten(1).double()
        total, power = flat.sum(1), flat.square().sum(1)
        self._count += flat.shape[1]
        self._sum = total if self._sum is None else self._sum + total
        self._power = power if self._power is None else self._power + power

    def level(self) -> Level | None:
        """The level so far, None before the first block."""
        if self._sum is None or self._power is None or not self._count:
            return None
        mean = self._sum / self._count
        spread = (self._power - self._count * mean.square()).clamp(min=0)
        std = (spread / max(self._count - 1, 1)).sqrt()
        rms = (self._power / self._count).sqrt()
        return Level(*(v.float().reshape(-1, 1, 1) for v in (std, rms, mean)))
