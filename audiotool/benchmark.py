"""How fast, how late and how large a model is on this machine.

result = measure(model, seconds=30.0)
result.real_time_factor, result.step_ms["p99"], result.macs_per_second
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from audiotool.models.base import Model
from audiotool.streaming.streamer import CausalStreamer, Streamer, make_streamer

logger = logging.getLogger(__name__)

FILE_CHUNK_S = 10.0
COST_S = 2.0
"""Length of audio over which multiplications are counted."""

STEPS = 2000
"""Most live steps that are timed."""

PERCENTILES = (50, 95, 99)


@dataclass(frozen=True)
class Benchmark:
    """What was measured.

    Args:
        latency, latency_ms: of the algorithm, in output samples and milliseconds; for a model that looks
            ahead, its segments included.
        hop_ms: audio a live step consumes; None for models that cannot be stepped.
        real_time_factor: seconds of audio processed in a second, in chunks as files are.
        step_ms: percentiles of the time a live step of one hop takes, once it has begun to emit.
        live_share: median step over hop, the part of real time that a live stream computes.
        peak_memory_mb: of the whole process, Python and PyTorch included; None where it is not known.
        macs_per_second: multiply-accumulates for a second of audio; see `count_macs`.
    """

    name: str
    parameters: int
    sample_rate: int
    causal: bool
    latency: int
    latency_ms: float
    hop_ms: float | None
    seconds: float
    real_time_factor: float
    step_ms: dict[str, float] | None
    live_share: float | None
    peak_memory_mb: float | None
    macs_per_second: float
    threads: int
    device: str


def measure(model: Model, seconds: float = 30.0) -> Benchmark:
    """Measure a model in eval mode on its own device, with the threads PyTorch now has.

    Args:
        seconds: of audio, white noise, for the real-time factor.
    """
    _run(make_streamer(model, chunk_items(model, 1.0)), _noise(model, 1.0))
    elapsed = _run(make_streamer(model, chunk_items(model, FILE_CHUNK_S)), _noise(model, seconds))
    steps = step_times(model, seconds) if model.causal else None
    latency = model.latency if model.causal else make_streamer(model).latency
    hop_ms = 1000 * model.hop_length / items_per_second(model)
    return Benchmark(
        name=model.name,
        parameters=model.parameter_count,
        sample_rate=model.sample_rate,
        causal=model.causal,
        latency=latency,
        latency_ms=1000 * latency / model.sample_rate,
        hop_ms=hop_ms if model.causal else None,
        seconds=seconds,
        real_time_factor=seconds / elapsed,
        step_ms=None if steps is None else {f"p{p}": percentile(steps, p) for p in PERCENTILES},
        live_share=None if steps is None else percentile(steps, 50) / hop_ms,
        peak_memory_mb=peak_memory_mb(),
        macs_per_second=count_macs(model),
        threads=torch.get_num_threads(),
        device=str(_device(model)),
    )


@torch.inference_mode()
def step_times(model: Model, seconds: float) -> list[float]:
    """Milliseconds of each live step of one hop; steps before the first output warm up and do not count."""
    streamer = CausalStreamer(model)
    streamer.prepare(1, model.input_channels)
    hops = _noise(model, seconds).split(model.hop_length, dim=-1)[:STEPS]
    times, begun = [], False
    for hop in hops:
        before = _clock(model)
        emitted = streamer.feed(hop).shape[-1] > 0
        elapsed = _clock(model) - before
        if begun:
            times.append(1000 * elapsed)
        begun = begun or emitted
    return times


@torch.no_grad()
def count_macs(model: Model, seconds: float | None = None) -> float:
    """Multiply-accumulates of matrix products, convolutions, attention and recurrences for a second of audio.

    Fourier transforms, norms and other work on single elements are not counted. Models whose attention sees
    everything cost more a second the longer the segment is. Only shapes are computed, so that large models
    take no longer than small ones; models that look at values, and those of many small steps, are run.

    Args:
        seconds: of audio; None is two, and one input item for a model that computes its output step by step.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    if seconds is None:
        seconds = 1 / items_per_second(model) if model.sample_by_sample else COST_S
    noise = _noise(model, seconds)
    heard = noise.shape[-1] / items_per_second(model)
    # Thousands of tiny steps are faster done than imagined.
    recurrent = any(isinstance(m, torch.nn.RNNBase) for m in model.modules())
    if not (recurrent or model.stepwise or model.sample_by_sample):
        try:
            with FakeTensorMode(allow_non_fake_inputs=True) as shapes:
                return _macs(model, shapes.from_tensor(noise)) / heard
        except (RuntimeError, TypeError, NotImplementedError) as error:
            logger.debug("%s is run to count its multiplications: %s", model.name, error)
    return _macs(model, noise) / heard


def _macs(model: Model, x: Tensor) -> float:
    from torch.nn.utils import parametrize
    from torch.utils.flop_counter import FlopCounterMode

    # The counter follows parametrised weights (weight norm) under no_grad, and not in inference mode.
    recurrent = {torch.ops.aten.mkldnn_rnn_layer: _rnn_flops, torch.ops.aten.addmm_: _addmm_flops}
    # It also waits for the gradient of a parameter that a module returns as it is: there must be none.
    trained = [p for p in model.parameters() if p.requires_grad]
    model.requires_grad_(False)
    try:
        with parametrize.cached(), FlopCounterMode(display=False, custom_mapping=recurrent) as counter:
            model.process(x)
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
    return counter.get_total_flops() / 2


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that `percent` of all do not exceed; NaN for none."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def peak_memory_mb() -> float | None:
    """Most memory this process has had at once, in 10^6 bytes; None on systems that do not tell."""
    try:
        import resource
        import sys
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def items_per_second(model: Model) -> float:
    """Input items (samples, or frames for a vocoder) in a second."""
    return model.sample_rate / model.upsampling


def chunk_items(model: Model, seconds: float) -> int:
    """Input items in `seconds`, at least one."""
    return max(1, round(seconds * items_per_second(model)))


def _noise(model: Model, seconds: float) -> Tensor:
    """Reproducible white noise in the model's input shape (1, C, items)."""
    generator = torch.Generator().manual_seed(0)
    shape = (1, model.input_channels, chunk_items(model, seconds))
    return (0.1 * torch.randn(shape, generator=generator)).to(_device(model))


def _run(streamer: Streamer, waveform: Tensor) -> float:
    """Seconds that a whole stream takes."""
    before = _clock(streamer.model)
    for block in waveform.split(chunk_items(streamer.model, FILE_CHUNK_S), dim=-1):
        streamer.feed(block)
    streamer.flush()
    return _clock(streamer.model) - before


def _clock(model: Model) -> float:
    if _device(model).type == "cuda":
        torch.cuda.synchronize(_device(model))
    return time.perf_counter()


def _device(model: Model) -> torch.device:
    return next(model.parameters()).device


def _addmm_flops(held: Any, a: Sequence[int], b: Sequence[int], **_: Any) -> int:
    """A matrix product added in place, as our GRU takes its steps."""
    return 2 * a[0] * a[1] * b[1]


def _rnn_flops(x: Sequence[int], *arguments: Any, out_shape: Any = None, **_: Any) -> int:
    """A fused LSTM layer: each time step multiplies its input and its hidden state."""
    steps = math.prod(x[:2])
    return 2 * steps * sum(math.prod(shape) for shape in arguments[:2])
