"""`audiotool bench`: speed, latency and memory of a model on this machine."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audiotool.cli.model_tables import unknown_model
from audiotool.cli.screen import write, write_document
from audiotool.errors import PlanError
from audiotool.extras import require
from audiotool.tasks import completion
from audiotool.tasks.options import AsJson, Device, EngineChoice, EngineKind
from audiotool.text import one_line

if TYPE_CHECKING:
    from audiotool.benchmark import Benchmark
    from audiotool.engines.base import Engine

app = typer.Typer(add_completion=False)

VOCODER_LINE = "{:<18} {:>6} {:>9} {:>8} {:>11} {:>10}  {}\n"


@app.command()
def bench(
    model: Annotated[
        str | None,
        typer.Option(
            help="A bundled checkpoint, a task (its default), or an architecture with random weights.",
            show_default=False,
            autocompletion=completion.models_and_tasks,
        ),
    ] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="A checkpoint file.", show_default=False)] = None,
    seconds: Annotated[float, typer.Option(min=1.0, help="Audio processed, in seconds.")] = 30.0,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    device: Device = "cpu",
    engine: EngineChoice = EngineKind.auto,
    vocoders: Annotated[
        bool,
        typer.Option(
            "--vocoders", help="Every vocoder at its published configuration, random weights, on one core."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Measure a model: real-time factor, time of a live step, latency, memory, cost.

    Without --model or --checkpoint, the default denoiser is measured.
    """
    if sum((model is not None, checkpoint is not None, vocoders)) > 1:
        raise PlanError("--model, --checkpoint and --vocoders exclude each other")
    if vocoders:
        _vocoders(seconds, as_json)
        return
    from audiotool.benchmark import measure

    name, runs = _open(model, checkpoint, device, engine, threads)
    result = measure(runs, seconds, threads)
    if as_json:
        write_document("bench", checkpoint=name, **dataclasses.asdict(result))
        return
    lines = [("checkpoint", one_line(name)), *rows(result)]
    width = max(len(what) for what, _ in lines) + 2
    write("".join(f"{what:<{width}}{much}\n" for what, much in lines))


def _vocoders(seconds: float, as_json: bool) -> None:
    """Print a line for each vocoder as soon as it is measured, because slow ones take minutes."""
    require("torch", "a vocoder with random weights")
    from audiotool.vocoder_benchmark import measure_all, vocoders

    measured = measure_all(vocoders(), seconds)
    if as_json:
        write_document("bench", vocoders=[dataclasses.asdict(row) for row in measured])
        return
    heading = ("vocoder", "Hz", "weights", "MAC/s", "x real time", "latency", "streams by")
    write(VOCODER_LINE.format(*heading))
    for row in measured:
        latency = "unbounded" if row.latency_ms is None else f"{row.latency_ms:.0f} ms"
        weights, macs = f"{row.parameters / 1e6:.2f} M", f"{row.macs_per_second / 1e9:.1f} G"
        speed = f"{row.real_time_factor:.3g}"
        write(VOCODER_LINE.format(row.name, row.sample_rate, weights, macs, speed, latency, row.streams_by))


def rows(result: Benchmark) -> list[tuple[str, str]]:
    """Return the lines of the table: (quantity, value)."""
    macs = result.macs_per_second
    cost = "not counted" if macs is None else f"{macs / 1e6:.4g} million a second of audio"
    lines = [
        ("architecture", f"{result.name}, {result.sample_rate} Hz"),
        ("parameters", f"{result.parameters:,}"),
        ("multiply-accumulates", cost),
        ("latency", _latency(result)),
        ("files", f"{result.real_time_factor:.1f}x real time over {result.seconds:g} s"),
    ]
    if result.step_ms is None or result.live_share is None:
        lines.append(("live steps", "none: the model looks ahead, and is streamed in segments"))
    else:
        times = ", ".join(f"{name} {value:.2f} ms" for name, value in result.step_ms.items())
        lines.append(("live steps", f"{times} for {result.hop_ms:.1f} ms of audio"))
        lines.append(("live streams", f"{result.live_share:.3f} of real time, by the median step"))
    if result.peak_memory_mb is not None:
        lines.append(("peak memory", f"{result.peak_memory_mb:.0f} MB, Python and the engine included"))
    lines.append(
        (
            "machine",
            f"{result.device}, {result.threads} thread{'s' * (result.threads > 1)}, engine {result.engine}",
        )
    )
    return lines


def _latency(result: Benchmark) -> str:
    """Return the latencies of a causal model (algorithmic, with hop, with resampling), or the length of
    segments."""
    algorithmic = f"{result.latency} samples, {result.latency_ms:.1f} ms"
    if not result.causal:
        return f"unbounded; segments of {algorithmic}"
    parts = [f"algorithmic {algorithmic}"]
    if result.hop_latency_ms is not None:
        parts.append(f"with hop {result.hop_latency_ms:.1f} ms")
    if result.resampled_latency_ms is not None:
        parts.append(f"with resampling {result.resampled_latency_ms:.1f} ms (48 kHz)")
    return "; ".join(parts)


def _open(
    model: str | None, path: Path | None, device: str, engine: EngineKind, threads: int
) -> tuple[str, Engine]:
    """Return the title of the table and the engine."""
    from audiotool import checkpoint, named_checkpoints

    if path is not None:
        return str(path), checkpoint.open_engine(path, device, engine.value, threads)[0]
    model = "denoise" if model is None else model
    model = named_checkpoints.defaults().get(model, model)
    if model in named_checkpoints.named():
        path = named_checkpoints.resolve(model)
        return model, checkpoint.open_engine(path, device, engine.value, threads)[0]
    require("torch", f"the architecture {model} with random weights")
    import torch

    from audiotool.device import find_device
    from audiotool.engines.pytorch import TorchEngine
    from audiotool.models.registry import MODELS

    if model not in MODELS:
        raise unknown_model(model)
    torch.set_num_threads(threads)
    built = MODELS.get(model).from_config().eval().to(find_device(device))
    return f"{model} (random weights)", TorchEngine(built)
