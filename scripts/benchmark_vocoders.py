"""Speed of every registered vocoder at its published configuration, with random weights, as Markdown.

    python scripts/benchmark_vocoders.py [--seconds 1] [--only waveglow wavenet] [--output FILE]

Real-time factor is seconds of one core for a second of sound (below 1 is faster than real time); processor
time is counted, so that other programs on the machine show little. Multiply-adds are those of one second of
sound. Latency is what the model declares; a streamer's chunk comes on top. Models slower than twice real time
are measured on a tenth of a second.

The second table measures what the caches of the autoregressive models save, with the ceiling that counting
gives. WaveFlow's h rows need h - 1 evaluations of a row with queues. Without them, the published inverse
evaluates the known rows for every new one, (h - 1) h / 2 in all (ceiling h / 2; it does keep the condition's
part of the work, about a tenth, which is computed again here); one that evaluates the whole height each time
needs (h - 1)^2 (ceiling h - 1). WaveNet is extrapolated to one second from the measured cost of a sample:
with memories, and recomputed from its whole receptive field (ceiling: that field).
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from audiotool.engines.cost import count_macs
from audiotool.models.base import Model
from audiotool.models.layers import logistic_mixture, noise
from audiotool.models.registry import MODELS
from audiotool.models.waveflow import RowFlow, WaveFlow
from audiotool.models.wavenet import WaveNet

SLOW = 2.0
"""Real-time factor beyond which a tenth of a second is measured."""
F0_HZ = 150.0
PROBE_SAMPLES = 10
COMPARED_SAMPLES = 200
WAVENET_SECONDS = 0.05


def build(name: str) -> Model:
    """The model at its default configuration, folded for inference."""
    torch.manual_seed(0)
    model_class = MODELS.get(name)
    fields = {field.name for field in dataclasses.fields(model_class.config_class)}
    model = model_class.from_config({"weight_norm": False} if "weight_norm" in fields else {})
    return model.eval()


def features(model: Model, seconds: float) -> Tensor:
    """Random features of that duration; a channel beyond the mel is F0 in Hz."""
    frames = max(1, round(seconds * model.sample_rate / model.upsampling))
    x = torch.randn(1, model.input_channels, frames) - 4.0
    bands = getattr(model, "mel", None)
    if bands is not None and model.input_channels > bands.n_mels:
        x[:, bands.n_mels :] = F0_HZ
    elif bands is None:
        x[:, -1] = F0_HZ
    return x


def duration(work: Callable[[], object], repeats: int = 1) -> float:
    """Seconds of processor time that the fastest of `repeats` runs takes, on one core."""
    times = []
    for _ in range(repeats):
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return min(times)


def row(name: str, seconds: float) -> str:
    """One line of the first table."""
    model = build(name)

    def factor(length: float, repeats: int) -> float:
        x = features(model, length)
        sound = x.shape[-1] * model.upsampling / model.sample_rate
        return duration(lambda: model.process(x), repeats) / sound

    short = factor(0.1, 1)
    measured = short if short > SLOW else factor(seconds, 1)
    multiply_adds = count_macs(model, None if model.autoregressive else 1.0)
    if model.causal:
        streams = "state"
    elif model.context is not None:
        streams = f"exact context, {model.context[0]} + {model.context[1]} frames"
    else:
        streams = "cross-fade"
    bounded = model.causal or model.context is not None
    latency = f"{1000 * model.latency / model.sample_rate:.0f} ms" if bounded else "unbounded"
    return (
        f"| {name} | {model.sample_rate} | {model.parameter_count / 1e6:.2f} M | {multiply_adds / 1e9:.1f} G"
        f" | {measured:.3g} | {latency} | {streams} |"
    )


def cache_row(name: str, cached: float, plain: float, ceiling: float, difference: float) -> str:
    """One line of the second table."""
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
    """One flow with queues and without; a model of eight takes eight times both."""
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
    """One second of WaveNet from the cost of a sample; both ways are compared over the first samples."""
    model = build("wavenet")
    assert isinstance(model, WaveNet)
    x = features(model, WAVENET_SECONDS)
    results: list[Tensor] = []
    seconds = duration(lambda: results.append(model.process(x)))
    cached = seconds / results[0].shape[-1] * model.sample_rate
    reach = model.config.stack.receptive_field
    window = torch.zeros(1, 1, reach)
    condition = torch.zeros(1, model.mel.n_mels, reach)
    per_sample = duration(lambda: [model(window, condition) for _ in range(PROBE_SAMPLES)]) / PROBE_SAMPLES
    again = recompute_samples(model, model.condition(x)[..., :COMPARED_SAMPLES])
    difference = float((results[0][..., :COMPARED_SAMPLES] - again).abs().max() / again.abs().max())
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
        samples[..., t + 1 : t + 2] = logistic_mixture.sample(
            parameters, gumbel[..., at], logistic[..., at], model.config.log_scale_min
        )
    return samples[..., 1:]


CACHE_HEADER = [
    "| the same samples without caches | cached | recomputed | times faster | ceiling | largest difference |",
    "| --- | --- | --- | --- | --- | --- |",
]


def cache_rows(names: list[str]) -> list[str]:
    """The second table, printed as it is measured; empty when no autoregressive model is asked for."""
    measured = []
    if "waveflow" in names:
        measured += [waveflow_caches(16, 1.0), waveflow_caches(64, 0.25)]
    if "wavenet" in names:
        measured += [wavenet_caches()]
    lines = list(CACHE_HEADER) if measured else []
    for line in itertools.chain(*measured):
        lines.append(line)
        print(line, flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="of sound for the real-time factor")
    parser.add_argument("--only", nargs="+", help="names of vocoders; all when absent")
    parser.add_argument("--output", type=Path, help="Markdown file to write beside printing")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    names = arguments.only or [name for name, model in MODELS.all().items() if "mel" in model.takes]
    lines = [
        "| vocoder | Hz | parameters | multiply-adds / s | real-time factor | latency | streams by |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    print("\n".join(lines), flush=True)
    with torch.inference_mode():
        for name in names:
            lines.append(row(name, arguments.seconds))
            print(lines[-1], flush=True)
        caches = cache_rows(names)
        if caches:
            lines += ["", *caches]
    text = "\n".join(lines) + "\n"
    if arguments.output is not None:
        arguments.output.write_text(text)


if __name__ == "__main__":
    main()
