"""Choose the streamer for an engine."""

from __future__ import annotations

from typing import Any

from audiotool.engines.base import Engine
from audiotool.streaming.streamer import CausalStreamer, Streamer


def make_streamer(
    engine: Engine, chunk: int | None = None, overlap: int | None = None, **conditions: Any
) -> Streamer:
    """Return a `CausalStreamer` for a causal engine, else an `OverlapAddStreamer`.

    Args:
        chunk: input items consumed at a time; None is whole hops as they come (causal) or ten seconds
            (overlap-add).
        overlap: items of cross-fade between overlap-add segments; only for engines without exact context.
    """
    if engine.causal:
        return CausalStreamer(engine, chunk, **conditions)
    # Most engines are causal, and their streams do without it.
    from audiotool.streaming.overlap_add import OverlapAddStreamer

    return OverlapAddStreamer(engine, chunk, overlap, **conditions)
