"""The time that caches of the autoregressive vocoders save, with random weights, as Markdown.

    python scripts/benchmark_caches.py

Seconds are of one core's processor time. The ceiling is what counting gives. WaveFlow's h rows need h - 1
evaluations of a row with queues. Without them, the published inverse evaluates the known rows for every new
one, (h - 1) h / 2 in all (ceiling h / 2; it does keep the condition's part of the work, about a tenth, which
is computed again here); one that evaluates the whole height each time needs (h - 1)^2 (ceiling h - 1).
WaveNet is extrapolated to one second from the measured cost of a sample: with memories, and recomputed from
its whole receptive field (ceiling: that field).
"""

from __future__ import annotations

import argparse
import functools
import itertools
import time
from collections.abc import Callable, Iterator

import torch
from plain_errors import run_script
from torch import Tensor, nn

from audiotool.models.layers import logistic_mixture, noise
from audiotool.models.waveflow import RowFlow, WaveFlow
from audiotool.models.wavenet import WaveNet
from audiotool.vocoder_benchmark import features, published

PROBE_SAMPLES = 10
COMPARED_SAMPLES = 200
WAVENET_SECONDS = 0.05


def duration(work: Callable[[], object], repeats: int = 1) -> float:
    """Seconds of processor time that the fastest of `repeats` runs takes, on one core."""
    times = []
    for _ in range(repeats):
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return min(times)


def cache_row(name: str, cached: float, plain: float, ceiling: float, difference: float) -> str:
    """Return a line of the second table."""
    return (
        f"| {name} | {cached:.3g} s | {plain:.3g} s | {plain / cached:.1f} | {ceiling:g} | {difference:.1e} |"
    )


def full_inverse(flow: RowFlow, z: Tensor, condition: Tensor) -> Tensor:
    """`RowFlow.inverse` without queues: the whole height again for each new row."""
    rows = z.clone()
    for n in range(1, z.shape[2]):
        log_scale, shift, _ = flow.network(rows[:, :, :-1], condition[:, :, 1:])
        at = slice(n - 1, n)
        rows[:, :, n : n + 1] = (z[:, :, n : n + 1] - shift[:, :, at]) * torch.exp(-log_scale[:, :, at])
    return rows


def published_inverse(flow: RowFlow, z: Tensor, condition: Tensor) -> Tensor:
    """`RowFlow.inverse` without queues, as published: each new row from all rows before it."""
    rows = z[:, :, :1]
    for n in range(1, z.shape[2]):
        log_scale, shift, _ = flow.network(rows, condition[:, :, 1 : n + 1])
        new = (z[:, :, n : n + 1] - shift[:, :, -1:]) * torch.exp(-log_scale[:, :, -1:])
        rows = torch.cat((rows, new), dim=2)
    return rows


def waveflow_caches(rows: int, seconds: float) -> Iterator[str]:
    """Yield the lines of one flow with and without queues; a model of eight flows takes eight times as
    long."""
    torch.manual_seed(0)
    model = WaveFlow.from_config({"weight_norm": False, "n_flows": 1, "rows": rows}).eval()
    assert isinstance(model, WaveFlow)
    flow = model.flows[0]
    assert isinstance(flow, RowFlow)
    nn.init.normal_(flow.proj_log_s_t.weight, 0.0, 0.01)
    length = round(seconds * model.sample_rate / model.upsampling) * model.upsampling
    z = model.stack(torch.randn(1, 1, length))
    condition = model.stack(model.upsample(features(model, length / model.sample_rate)))
    results: list[Tensor] = []

    def run(inverse: Callable[[RowFlow, Tensor, Tensor], Tensor]) -> None:
        results.append(inverse(flow, z, condition))

    cached = duration(functools.partial(run, RowFlow.inverse), 2)
    for inverse, said, ceiling in (
        (published_inverse, "known rows again, as published", rows / 2),
        (full_inverse, "whole height again", rows - 1),
    ):
        plain = duration(functools.partial(run, inverse))
        difference = float((results[0] - results[-1]).abs().max() / results[-1].abs().max())
        name = f"waveflow, {rows} rows, one flow, {seconds:g} s: {said}"
        yield cache_row(name, cached, plain, ceiling, difference)


def wavenet_caches() -> Iterator[str]:
    """Yield the lines of one second of WaveNet, from the cost of a sample with and without queues."""
    model = published("wavenet")
    assert isinstance(model, WaveNet)
    x = features(model, WAVENET_SECONDS)
    results: list[Tensor] = []
    seconds = duration(lambda: results.append(model.process(x)))
    cached = seconds / results[0].shape[-1] * model.sample_rate
    reach = model.config.stack.receptive_field
    window = torch.zeros(1, 1, reach)
    condition = torch.zeros(1, model.mel.n_mels, reach)
    per_sample = duration(lambda: [model(window, condition) for _ in range(PROBE_SAMPLES)]) / PROBE_SAMPLES
    recomputed = recompute_samples(model, model.condition(x)[..., :COMPARED_SAMPLES])
    difference = float((results[0][..., :COMPARED_SAMPLES] - recomputed).abs().max() / recomputed.abs().max())
    name = "wavenet, 1 s, extrapolated: the whole receptive field each time"
    yield cache_row(name, cached, per_sample * model.sample_rate, reach, difference)


def recompute_samples(model: WaveNet, condition: Tensor) -> Tensor:
    """Every sample from the whole past through the network that training uses."""
    length = condition.shape[-1]
    drawn = noise.uniform(model.config.seed, model.config.components + 1, 0, length)
    gumbel, logistic = logistic_mixture.sampling_noise(drawn)
    samples = torch.zeros(1, 1, length + 1)
    for t in range(length):
        at = slice(t, t + 1)
        parameters = model(samples[..., : t + 1], condition[..., : t + 1])[..., -1:]
        samples[..., t + 1 : t + 2] = logistic_mixture.sample(parameters, gumbel[..., at], logistic[..., at])
    return samples[..., 1:]


def main() -> None:
    """Measure, print."""
    argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0]).parse_args()
    torch.set_num_threads(1)
    print("| the same samples without caches | cached | recomputed | times faster | ceiling | difference |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    measured = (waveflow_caches(16, 1.0), waveflow_caches(64, 0.25), wavenet_caches())
    with torch.inference_mode():
        for line in itertools.chain(*measured):
            print(line, flush=True)


if __name__ == "__main__":
    run_script(main)
