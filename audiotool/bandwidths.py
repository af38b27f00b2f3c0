"""What a recording's bandwidth means for super-resolution: where the new band begins, and remarks for the
user, where the output is not what may be expected."""

from __future__ import annotations

import math

import numpy as np

from audiotool import named_checkpoints
from audiotool.arrays import Block
from audiotool.checkpoint import Metadata
from audiotool.engines.base import Engine
from audiotool.streaming.session import Settings

RESAMPLED_BAND = 0.95
"""Share of a lower rate's band that a resampler keeps. A new band that begins above it would leave a gap."""

NARROW_BAND = 0.8
"""Share of `extends_from_hz`. If a recording's content ends below it, an audible gap stays; a remark says
so."""

SAME_BAND = 0.9
"""Ratio of two channels' bandwidths below which a remark names both."""


def edges_of(bands: Block | float, sample_rate: int, engine: Engine, settings: Settings) -> Block | float:
    """Return where the new band begins, in Hz: above the model's own band where there is nothing to extend.

    Args:
        bands: bandwidths of a recording in Hz, a number or (B, 1, 1).
        sample_rate: Hz of the recording.
        settings: of the recording's stream.
    """
    from audiotool.dsp.bandwidth import FULL_BAND

    rate = settings.rate_for(sample_rate, engine.sample_rate)
    bands = np.minimum(bands, sample_rate / 2)  # one that is given may be more
    full = bands > FULL_BAND * min(rate, engine.sample_rate) / 2
    # An output of the input's rate gets the band's edge from the input (`Session`).
    if sample_rate < min(rate, engine.sample_rate):
        bands = np.minimum(bands, RESAMPLED_BAND * sample_rate / 2)
    edges: Block = np.where(full, np.float32(engine.sample_rate), np.float32(bands))
    return edges if edges.ndim else float(edges)


def remarks_on(
    bands: Block | None, sample_rate: int, engine: Engine, task: str, settings: Settings
) -> list[str]:
    """Return remarks on the bandwidths that the first pass has found, or on the one that is given, if it has
    consequences.

    Args:
        bands: (B, 1, 1) in Hz; None where they were not measured.
        sample_rate: Hz of the recording.
        task: name of the task, whose bundled models are suggested.
        settings: of the recording's stream.
    """
    given, own = settings.bandwidth_hz, sample_rate / 2
    if given is not None:
        low = high = min(given, own)
        found = f"is given a bandwidth of {given / 1000:.1f} kHz"
        found += f", of which {sample_rate} Hz hold {own / 1000:.1f}" if given > own else ""
    elif bands is not None:
        low, high = float(bands.min()), float(bands.max())
        found = f"holds sound up to {high / 1000:.1f} kHz"
        found += f" in one channel, {low / 1000:.1f} kHz in another" if low < SAME_BAND * high else ""
    else:
        return []
    outcome, other = _outcome(low, high, sample_rate, engine, task, settings)
    if outcome:
        found += f": {outcome}" if other is None else f": {outcome}; use the model {other}"
    return [found] if outcome or given is None or given > own else []


def _outcome(
    low: float, high: float, sample_rate: int, engine: Engine, task: str, settings: Settings
) -> tuple[str, str | None]:
    """Return what is not as may be expected where the channels' bandwidths are from `low` to `high` Hz, ""
    for nothing, and the name of a model that does it, if there is one."""
    from audiotool.dsp.bandwidth import FULL_BAND

    begin, end = engine.extends_from_hz or 0.0, engine.sample_rate / 2
    asked = settings.output_rate
    if low > FULL_BAND * end:
        least = max(engine.sample_rate, 2 * high / FULL_BAND)
        other = named_checkpoints.bundled_for(task, lambda other: other.sample_rate > least)
        return "there is nothing to extend", other
    if low < NARROW_BAND * begin:
        gap = f"nothing comes between that and {begin / 1000:.1f} kHz, where the model begins"
        return gap, named_checkpoints.bundled_for(task, lambda other: NARROW_BAND * _begin_of(other) <= low)
    if asked is not None and low > FULL_BAND * asked / 2:
        return f"an output of {asked} Hz holds no more than that", None
    rate = settings.rate_for(sample_rate, engine.sample_rate)
    if rate > engine.sample_rate:
        gap = f"nothing comes above {end / 1000:.1f} kHz, where the model ends"
        return gap, named_checkpoints.bundled_for(task, lambda other: other.sample_rate >= rate)
    return "", None


def _begin_of(metadata: Metadata) -> float:
    """Return the lowest frequency in Hz at which a checkpoint's model adds content, from its
    configuration."""
    begin = metadata.model["config"].get("extend_from_hz")
    return math.inf if begin is None else float(begin)
