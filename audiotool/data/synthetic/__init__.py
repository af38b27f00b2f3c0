"""Synthetic noises, by their names in recipes.

Each is a function of a generator, from which everything is drawn, a length in samples and a sample rate, and
returns (frames,) float32 of no particular level.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from audiotool.data.clips import Samples
from audiotool.data.synthetic import events, stationary

GENERATORS: dict[str, Callable[[np.random.Generator, int, int], Samples]] = {
    "coloured": stationary.coloured,
    "hum": stationary.hum,
    "engine": stationary.engine,
    "wind": stationary.wind,
    "clicks": stationary.clicks,
    "texture": events.texture,
    "bursts": events.bursts,
    "water": events.water,
    "calls": events.calls,
    "notes": events.notes,
}
