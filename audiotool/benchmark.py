"""Measure speed, latency and memory of a model on this machine.

result = measure(engine, seconds=30.0)
result.real_time_factor, result.step_ms["p99"], result.macs_per_second
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from audiotool.engines.base import Chunk, Engine
from audiotool.engines.copy_synthesis import CopySynthesis, is_vocoder, takes_mel
from audiotool.files.processor import FILE_CHUNK_SECONDS
from audiotool.streaming.make import make_streamer
from audiotool.streaming.session import Session, Settings
from audiotool.streaming.streamer import CausalStreamer, Streamer

STEPS = 2000
"""Greatest number of live steps that are timed."""

PERCENTILES = (50, 95, 99)

MICROPHONE_RATE = 48000
"""Sample rate in Hz of most live streams, for which the latency with resampling is computed."""


@dataclass(frozen=True)
class Benchmark:
    """Results of a benchmark.

    Args:
        latency, latency_ms: algorithmic latency in output samples and milliseconds, including the segments of
            models that look ahead.
        hop_latency_ms: latency of a live stream at the model's rate, including its hop; None for models that
            cannot be stepped.
        resampled_latency_ms: latency of a live stream at 48 kHz, including hop and resampling, and the
            analysis of a vocoder; None also for vocoders of a codec's features.
        hop_ms: duration of the audio of a live step; None for models that cannot be stepped.
        real_time_factor: seconds of audio processed in a second, in chunks as files are.
        step_ms: percentiles of the time a live step of one hop takes, once it has begun to emit.
        live_share: median step over hop: share of real time that a live stream computes.
        peak_memory_mb: peak memory of the process, including Python and the engine; None if unknown.
        macs_per_second: multiply-accumulates for a second of audio; None where they were not counted.
        engine: "onnx" or "torch".
    """

    name: str
    parameters: int
    sample_rate: int
    causal: bool
    latency: int
    latency_ms: float
    hop_latency_ms: float | None
    resampled_latency_ms: float | None
    hop_ms: float | None
    seconds: float
    real_time_factor: float
    step_ms: dict[str, float] | None
    live_share: float | None
    peak_memory_mb: float | None
    macs_per_second: float | None
    engine: str
    threads: int
    device: str


def measure(engine: Engine, seconds: float = 30.0, threads: int = 1) -> Benchmark:
    """Measure an engine.

    Args:
        seconds: of audio, white noise, for the real-time factor.
        threads: that the engine was given, for the record.
    """
    _run(make_streamer(engine, chunk_items(engine, 1.0)), _noise(engine, 1.0))
    elapsed = _run(make_streamer(engine, chunk_items(engine, FILE_CHUNK_SECONDS)), _noise(engine, seconds))
    steps = step_times(engine, seconds) if engine.causal else None
    latency = engine.latency if engine.causal else make_streamer(engine).latency
    hop_ms = 1000 * engine.hop_length / items_per_second(engine)
    return Benchmark(
        name=engine.name,
        parameters=engine.parameters,
        sample_rate=engine.sample_rate,
        causal=engine.causal,
        latency=latency,
        latency_ms=1000 * latency / engine.sample_rate,
        hop_latency_ms=1000 * CausalStreamer(engine).latency / engine.sample_rate if engine.causal else None,
        resampled_latency_ms=resampled_latency_ms(engine),
        hop_ms=hop_ms if engine.causal else None,
        seconds=seconds,
        real_time_factor=seconds / elapsed,
        step_ms=None if steps is None else {f"p{p}": percentile(steps, p) for p in PERCENTILES},
        live_share=None if steps is None else percentile(steps, 50) / hop_ms,
        peak_memory_mb=peak_memory_mb(),
        macs_per_second=engine.macs_per_second,
        engine=engine.kind,
        threads=threads,
        device=engine.device_name,
    )


def resampled_latency_ms(engine: Engine) -> float | None:
    """Return the latency in ms of a live stream at 48 kHz, of a vocoder's by copy synthesis; None for models
    that are not causal, and for vocoders of a codec's features."""
    if is_vocoder(engine) and not takes_mel(engine):
        return None
    engine = CopySynthesis(engine) if is_vocoder(engine) else engine
    if not engine.causal:
        return None
    session = Session(engine, MICROPHONE_RATE, engine.channels or 1, Settings(upper_band=False))
    return 1000 * session.latency / MICROPHONE_RATE


def step_times(engine: Engine, seconds: float) -> list[float]:
    """Return the time in ms of each live step of one hop; steps before the first output do not count."""
    streamer = CausalStreamer(engine)
    noise, hop = _noise(engine, seconds), engine.hop_length
    times, has_emitted = [], False
    for n in range(min(STEPS, -(-noise.shape[-1] // hop))):
        before = time.perf_counter()
        emitted = streamer.feed(noise[..., n * hop : (n + 1) * hop]).shape[-1] > 0
        elapsed = time.perf_counter() - before
        if has_emitted:
            times.append(1000 * elapsed)
        has_emitted = has_emitted or emitted
    return times


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that `percent` of all values do not exceed; NaN without values."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def peak_memory_mb() -> float | None:
    """Return the peak memory of this process in 10^6 bytes; None on Windows."""
    import sys

    if sys.platform == "win32":
        return None
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def items_per_second(engine: Engine) -> float:
    """Return the number of input items (samples, or frames for a vocoder) in a second."""
    return engine.sample_rate / engine.upsampling


def chunk_items(engine: Engine, seconds: float) -> int:
    """Return the number of input items in `seconds`, at least one."""
    return max(1, round(seconds * items_per_second(engine)))


def _noise(engine: Engine, seconds: float) -> Chunk:
    """Return reproducible white noise (1, C, items) as the engine's input."""
    shape = (1, engine.input_channels, chunk_items(engine, seconds))
    return 0.1 * np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def _run(streamer: Streamer, noise: Chunk) -> float:
    """Return the time in seconds that a whole stream takes."""
    before = time.perf_counter()
    size = chunk_items(streamer.engine, FILE_CHUNK_SECONDS)
    for begin in range(0, noise.shape[-1], size):
        streamer.feed(noise[..., begin : begin + size])
    streamer.flush()
    return time.perf_counter() - before
