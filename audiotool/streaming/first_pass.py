"""The level of a whole recording, measured block by block before the recording is processed."""

from __future__ import annotations

from torch import Tensor

from audiotool.models.base import Level


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
