"""`audiotool bench`: speed, latency and memory of a model on this machine."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audiotool.cli.screen import write
from audiotool.errors import PlanError
from audiotool.text import one_line, to_json

if TYPE_CHECKING:
    from audiotool.benchmark import Benchmark
    from audiotool.models.base import Model

app = typer.Typer(add_completion=False)


@app.command()
def bench(
    model: Annotated[
        str | None,
        typer.Option(
            help="A bundled checkpoint, a task (its default), or an architecture with random weights.",
            show_default=False,
        ),
    ] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="A checkpoint file.", show_default=False)] = None,
    seconds: Annotated[float, typer.Option(min=1.0, help="Audio processed, in seconds.")] = 30.0,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    device: Annotated[str, typer.Option(metavar="DEVICE", help="cpu, cuda, cuda:1, mps, or auto.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not a table.")] = False,
) -> None:
    """Measure a model: real-time factor, time of a live step, latency, memory, cost.

    Without --model or --checkpoint, the checkpoint that denoises is measured.
    """
    if model is not None and checkpoint is not None:
        raise PlanError("--model and --checkpoint exclude each other")
    import torch

    from audiotool.benchmark import measure
    from audiotool.device import find_device

    torch.set_num_threads(threads)
    target = find_device(device)
    name, loaded = _load(model, checkpoint)
    result = measure(loaded.to(target), seconds)
    if as_json:
        write(to_json({"checkpoint": name, **dataclasses.asdict(result)}))
        return
    lines = [("checkpoint", one_line(name)), *rows(result)]
    width = max(len(what) for what, _ in lines) + 2
    write("".join(f"{what:<{width}}{much}\n" for what, much in lines))


def rows(result: Benchmark) -> list[tuple[str, str]]:
    """The table's lines: what, and how much."""
    cost = f"{result.macs_per_second / 1e6:.4g} million a second of audio"
    latency = f"{result.latency} samples, {result.latency_ms:.1f} ms"
    lines = [
        ("architecture", f"{result.name}, {result.sample_rate} Hz"),
        ("parameters", f"{result.parameters:,}"),
        ("multiply-accumulates", cost),
        ("latency", latency if result.causal else f"unbounded; segments of {latency}"),
        ("files", f"{result.real_time_factor:.1f}x real time over {result.seconds:g} s"),
    ]
    if result.step_ms is None or result.live_share is None:
        lines.append(("live steps", "none: the model looks ahead, and is streamed in segments"))
    else:
        times = ", ".join(f"{name} {value:.2f} ms" for name, value in result.step_ms.items())
        lines.append(("live steps", f"{times} for {result.hop_ms:.1f} ms of audio"))
        lines.append(("live streams", f"{result.live_share:.3f} of real time, by the median step"))
    if result.peak_memory_mb is not None:
        lines.append(("peak memory", f"{result.peak_memory_mb:.0f} MB, Python and PyTorch included"))
    lines.append(("machine", f"{result.device}, {result.threads} thread{'s' * (result.threads > 1)}"))
    return lines


def _load(model: str | None, path: Path | None) -> tuple[str, Model]:
    """A title and the model in eval mode."""
    from audiotool import checkpoint
    from audiotool.models.registry import MODELS

    if path is not None:
        return str(path), checkpoint.load(path)[0]
    model = "denoise" if model is None else model
    model = checkpoint.defaults().get(model, model)
    if model in checkpoint.bundled():
        return model, checkpoint.load(checkpoint.resolve(model))[0]
    return f"{model} (random weights)", MODELS.get(model).from_config().eval()
