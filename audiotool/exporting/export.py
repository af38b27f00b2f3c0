"""Export a checkpoint to a graph and its card, and compare the outputs of graph and model."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from audiotool import checkpoint
from audiotool.atomic import replacing, write_text
from audiotool.checkpoint import Metadata
from audiotool.engines.card import Card, StateCard
from audiotool.engines.cost import count_macs
from audiotool.engines.onnx import OnnxEngine
from audiotool.errors import DependencyError, ExportError
from audiotool.exporting.graph_step import BATCH, GraphStep, StateTensor
from audiotool.exporting.names import shorten_names
from audiotool.exporting.shared_weights import share_starts, share_weights
from audiotool.extras import install
from audiotool.models.base import Model
from audiotool.models.vocoder import Vocoder

if TYPE_CHECKING:
    import onnx

CHUNKS = {"one hop": (1,), "seven hops": (7,), "uneven chunks": (0.3, 2.5, 1.7), "all at once": (10_000,)}
"""Sizes of the chunks in hops with which graph and model are compared."""


@dataclass(frozen=True)
class Parity:
    """Differences between the outputs of a graph and of its model.

    Args:
        differences: greatest absolute difference, relative to the output's peak, for each entry of `CHUNKS`.
        seconds: duration of the compared audio.
    """

    differences: dict[str, float]
    seconds: float

    @property
    def worst(self) -> float:
        """The greatest of the differences."""
        return max(self.differences.values())


def export(path: Path, output: Path, shares_weights: bool = False) -> tuple[Card, Parity]:
    """Write a checkpoint's graph to `output`, and its card beside it.

    Args:
        shares_weights: the graph takes its weights from the checkpoint, which must lie beside it under the
            same name; otherwise it holds them itself.
    Returns:
        The card, and the differences between graph and model.
    Raises:
        CheckpointError: the checkpoint cannot be read.
        DependencyError: a package for exporting is missing.
        ExportError: the model has no graph, or the graph differs too much; nothing is written.
    """
    _check_packages()
    model, metadata = checkpoint.load(path)
    try:
        step = GraphStep(model)
        graph = _onnx_model(step)
        return _write(graph, make_card(step, metadata), model, path, output, shares_weights)
    except ExportError as error:
        raise ExportError(f"{model.name} cannot be exported: {error}") from error


def _write(
    graph: onnx.ModelProto, card: Card, model: Model, path: Path, output: Path, shares_weights: bool
) -> tuple[Card, Parity]:
    """Write graph and card if the graph's output equals the model's to within rounding."""
    try:
        parity = compare(model, OnnxEngine(graph.SerializeToString(), card, output))
    except DependencyError:
        raise
    except Exception as error:  # onnxruntime's errors have no common base class
        raise ExportError(f"onnxruntime does not run its graph ({_first_line(error)})") from error
    if not parity.worst <= model.rounding:
        raise ExportError(
            "a stream after endless silence is not its stream; the graph differs by"
            f" {parity.worst:.1e} of the peak"
        )
    if shares_weights:
        share_weights(graph, path)
        card = share_starts(card, path)
        shorten_names(graph.graph)
    data = graph.SerializeToString(deterministic=True)
    card = card._replace(
        graph=output.name,
        graph_sha256=hashlib.sha256(data).hexdigest(),
        checkpoint_sha256=checkpoint.sha256(path),
    )
    with replacing(output) as file:
        file.write(data)
    write_text(output.with_suffix(".json"), card.to_json())
    return card, parity


def make_card(step: GraphStep, metadata: Metadata) -> Card:
    """Return the card of a step, without the names and hashes of files."""
    model = step.model
    mel = getattr(model, "mel", None)
    names = [state.name for state in step.states]
    return Card(
        name=model.name,
        reference=model.reference,
        task=metadata.task,
        licence=metadata.licence,
        version=metadata.version,
        sample_rate=model.sample_rate,
        hop_length=model.hop_length,
        latency=model.latency,
        delay=step.delay,
        upsampling=model.upsampling,
        channels=model.channels,
        input_channels=model.input_channels,
        stems=tuple(model.stems),
        shorter=1000 - model.output_length(1000) // model.upsampling,
        drain_value=model.drain_value,
        uses_level=model.uses_level,
        extends_from_hz=model.extends_from_hz,
        warm_up_seconds=model.warm_up_seconds,
        warmed_up=tuple(name for name in names if name.startswith(model.warmed_up))
        if model.warmed_up
        else (),
        mel=None if mel is None else dataclasses.asdict(mel),
        uses_f0=isinstance(model, Vocoder) and model.uses_f0,
        parameters=model.parameter_count,
        macs_per_second=round(count_macs(model)),
        states=tuple(_state_card(model, state) for state in step.states),
    )


def _state_card(model: Model, state: StateTensor) -> StateCard:
    shape: tuple[int | str, ...] = tuple(state.example.shape)
    if state.per_stream:
        shape = ("batch", *shape[1:])
    start = state.start.numpy()
    meanings = (text for place, text in model.state_meanings.items() if state.name.startswith(place))
    meaning = next(meanings, "carried from step to step")
    return StateCard(
        name=state.name,
        shape=shape,
        type=str(start.dtype),
        meaning=meaning,
        start=_numbers(start) if start.any() else 0,
    )


def _numbers(values: np.ndarray) -> Any:
    """Return an array as nested lists of numbers with five digits.

    They are nearer than half precision, in which bundled checkpoints keep learned starts.
    """
    if values.ndim == 0:
        return float(f"{float(values):.5g}")
    return [_numbers(row) for row in values]


def compare(model: Model, engine: OnnxEngine, seconds: float = 3.0) -> Parity:
    """Run model and graph on the same input, the graph in chunks of several sizes.

    A bandwidth-extension model is given the lowest bandwidth as a condition, because it adds nothing to noise
    of full bandwidth.
    """
    conditions = {} if model.extends_from_hz is None else {"bandwidth_hz": model.extends_from_hz}
    items = round(seconds * model.sample_rate / model.upsampling) + 7
    generator = torch.Generator().manual_seed(1)
    x = 0.1 * torch.randn(BATCH - 1, model.input_channels, items, generator=generator)
    x = x * (0.5 + 0.5 * torch.sin(torch.arange(items) * (30 / items)))
    if model.upsampling > 1:
        x = 10 * x - 5
    if isinstance(model, Vocoder) and model.uses_f0:
        # About 150 Hz, half of the frames unvoiced.
        x[:, -1] = torch.where(x[:, -1] > -5, 350 + 40 * x[:, -1], 0.0)
    with torch.inference_mode():
        expected = model.process(x, **conditions).numpy()
    peak = max(float(np.abs(expected).max()), 1e-9)
    differences = {}
    for label, sizes in CHUNKS.items():
        chunks = [max(1, round(size * model.hop_length)) for size in sizes]
        found = _streamed(engine, x.numpy(), chunks, conditions)
        differences[label] = float(np.abs(found[..., : expected.shape[-1]] - expected).max()) / peak
    return Parity(differences, seconds)


def _streamed(engine: OnnxEngine, x: np.ndarray, sizes: list[int], conditions: dict[str, Any]) -> np.ndarray:
    state, outputs = engine.start(**conditions), []
    for chunk in _chunks(x, sizes):
        output, state = engine.step(chunk, state)
        outputs.append(output)
    outputs.append(engine.step(x[..., :0], state, final=True)[0])
    return np.concatenate(outputs, axis=-1)


def _chunks(x: np.ndarray, sizes: list[int]) -> Iterator[np.ndarray]:
    first, n = 0, 0
    while first < x.shape[-1]:
        yield x[..., first : first + sizes[n % len(sizes)]]
        first, n = first + sizes[n % len(sizes)], n + 1


def _onnx_model(step: GraphStep) -> onnx.ModelProto:
    """Convert a step to an ONNX graph.

    Raises:
        ExportError: an operation cannot be traced or has no counterpart in ONNX.
    """
    from audiotool.exporting.program import onnx_model

    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        with warnings.catch_warnings():
            # These are the exporter's warnings about its own code. Its faults raise, or show in the parity.
            warnings.simplefilter("ignore")
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            return onnx_model(step)
    except ExportError:
        raise
    except Exception as error:  # the exporter's errors are of many kinds
        raise ExportError(f"its step cannot be traced ({_first_line(error)})") from error
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _first_line(error: Exception) -> str:
    line = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return line[:200]


def _check_packages() -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        try:
            __import__(name)
        except ImportError as error:
            raise DependencyError(
                f"exporting needs the package {name} ({error}): {install('onnx')}"
            ) from error
