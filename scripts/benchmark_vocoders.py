"""Speed of every registered vocoder at its published configuration, with random weights, as Markdown.

    python scripts/benchmark_vocoders.py [--seconds 2] [--only waveglow wavenet] [--output FILE]

Real-time factor is seconds of one core for a second of sound (below 1 is faster than real time); processor
time is counted, so that other programs on the machine show little. Multiply-adds are those of one second of
sound. Latency is what the model declares; a streamer's chunk comes on top. Models slower than ten times real
time are measured on a tenth of a second.

The second table measures what the caches of the autoregressive models save: the same samples computed again
from all that they depend on. WaveFlow recomputes the whole second. WaveNet's recomputation of one second
would take hours: it is measured on a few samples with a full receptive field, and multiplied.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from audiotool.benchmark import count_macs
from audiotool.models.base import Model
from audiotool.models.layers import logistic_mixture, noise
from audiotool.models.registry import MODELS
from audiotool.models.waveflow import RowFlow, WaveFlow
from audiotool.models.wavenet import WaveNet

SLOW = 10.0
"""Real-time factor beyond which a tenth of a second is measured."""
COUNTED_SECONDS = 0.025
"""Of sound whose multiply-adds are counted in models that slow."""
F0_HZ = 150.0
PROBE_SAMPLES = 20
COMPARED_SECONDS = 0.02


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
    measured = short if short > SLOW else factor(seconds, 3)
    multiply_adds = count_macs(model, COUNTED_SECONDS if short > SLOW else 1.0)
    if model.causal:
        streams = "state"
    elif model.context is not None:
        streams = f"exact context, {model.context[0]} + {model.context[1]} frames"
    else:
        streams = "cross-fade"
    return (
        f"| {name} | {model.sample_rate} | {model.parameter_count / 1e6:.2f} M | {multiply_adds / 1e9:.1f} G"
        f" | {measured:.3g} | {1000 * model.latency / model.sample_rate:.0f} ms | {streams} |"
    )


def cache_row(name: str, cached: float, plain: float, difference: float) -> str:
    """One line of the second table."""
    return f"| {name} | {cached:.3g} s | {plain:.3g} s | {plain / cached:.1f} | {difference:.1e} |"


def recompute_flow(flow: RowFlow, z: Tensor, condition: Tensor) -> Tensor:
    """`RowFlow.inverse` without queues: every row from all rows before it."""
    rows = z[:, :, :1]
    for n in range(1, z.shape[2]):
        log_scale, shift, _ = flow.network(rows, condition[:, :, 1 : n + 1])
        new = (z[:, :, n : n + 1] - shift[:, :, -1:]) * torch.exp(-log_scale[:, :, -1:])
        rows = torch.cat((rows, new), dim=2)
    return rows


def waveflow_caches(rows: int) -> str:
    """One second through one flow, with queues and without; a model of eight takes eight times both."""
    torch.manual_seed(0)
    model = WaveFlow.from_config({"weight_norm": False, "n_flows": 1, "rows": rows}).eval()
    assert isinstance(model, WaveFlow)
    flow = model.flows[0]
    assert isinstance(flow, RowFlow)
    nn.init.normal_(flow.proj_log_s_t.weight, 0.0, 0.01)
    length = model.sample_rate // model.upsampling * model.upsampling
    z = model.stack(torch.randn(1, 1, length))
    condition = model.stack(model.upsample(features(model, length / model.sample_rate)))
    results: list[Tensor] = []
    cached = duration(lambda: results.append(flow.inverse(z, condition)), 3)
    plain = duration(lambda: results.append(recompute_flow(flow, z, condition)))
    difference = float((results[0] - results[-1]).abs().max() / results[-1].abs().max())
    return cache_row(f"waveflow, {rows} rows, a flow", cached, plain, difference)


def wavenet_caches() -> str:
    """One second of WaveNet: cached in full, recomputed by extrapolation; compared over the first samples."""
    model = build("wavenet")
    assert isinstance(model, WaveNet)
    x = features(model, 1.0)
    results: list[Tensor] = []
    cached = duration(lambda: results.append(model.process(x)))
    window = torch.zeros(1, 1, model.config.stack.receptive_field)
    condition = torch.zeros(1, model.mel.n_mels, window.shape[-1])
    per_sample = duration(lambda: [model(window, condition) for _ in range(PROBE_SAMPLES)]) / PROBE_SAMPLES
    plain = per_sample * results[0].shape[-1]
    compared = round(COMPARED_SECONDS * model.sample_rate)
    again = recompute_samples(model, model.condition(x)[..., :compared])
    difference = float((results[0][..., :compared] - again).abs().max() / again.abs().max())
    return cache_row("wavenet", cached, plain, difference)


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


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="of sound for the real-time factor")
    parser.add_argument("--only", nargs="+", help="names of vocoders; all when absent")
    parser.add_argument("--output", type=Path, help="Markdown file; standard output when absent")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    names = arguments.only or [name for name, model in MODELS.all().items() if model.tasks[0] == "vocode"]
    lines = [
        "| vocoder | Hz | parameters | multiply-adds / s | real-time factor | latency | streams by |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    with torch.inference_mode():
        for name in names:
            lines.append(row(name, arguments.seconds))
            print(lines[-1], flush=True)
        caches = [waveflow_caches(16), waveflow_caches(64)] if "waveflow" in names else []
        caches += [wavenet_caches()] if "wavenet" in names else []
    if caches:
        lines += [
            "",
            "| one second of | cached | recomputed | times faster | largest relative difference |",
            "| --- | --- | --- | --- | --- |",
            *caches,
        ]
    text = "\n".join(lines) + "\n"
    if arguments.output is None:
        print(text)
    else:
        arguments.output.write_text(text)


if __name__ == "__main__":
    main()
