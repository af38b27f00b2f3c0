"""The level of a whole recording, a condition of models that normalise it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

Array = TypeVar("Array")


@dataclass(frozen=True, eq=False, repr=False)
class Level(Generic[Array]):
    """Level of a whole recording. Arrays have no single truth, so levels are not compared.

    Each field is (batch, 1, 1) float32: a numpy array for engines, a tensor for models.

    Args:
        std: standard deviation over channels and time, unbiased, mean removed.
        rms: root mean square over channels and time.
        mean: mean over channels and time.
    """

    std: Array
    rms: Array
    mean: Array
