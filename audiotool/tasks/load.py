"""`audiotool.load`: load a pipeline by its name, with the settings of its task."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from audiotool.errors import CheckpointError, StreamError, UnfitCheckpoint
from audiotool.tasks.base import TASKS, served_by
from audiotool.text import nearest

if TYPE_CHECKING:
    import torch

    from audiotool.checkpoint import EngineName, Metadata
    from audiotool.engines.base import Engine
    from audiotool.models.base import Model
    from audiotool.pipeline import Pipeline

P = ParamSpec("P")
R = TypeVar("R")

FORMER_OPTIONS = {"rehearse": "warm_up"}
"""Options of `load` until version 0.1 -> their names since."""


def refusing_misspelt(function: Callable[P, R]) -> Callable[P, R]:
    """Return the function, which refuses options that it does not have with the nearest name.

    Its signature stays as it is, so that type checkers refuse them, too.
    """
    known = list(inspect.signature(function).parameters)

    @functools.wraps(function)
    def checked(*args: P.args, **options: P.kwargs) -> R:
        for former in FORMER_OPTIONS.keys() & options.keys():
            if (current := FORMER_OPTIONS[former]) in options:
                raise StreamError(f"'{former}' is the former name of '{current}': give one of the two")
            options[current] = options.pop(former)
        if wrong := next((option for option in options if option not in known), None):
            name, all_known = function.__name__, ", ".join(known)
            raise StreamError(f"{name} has no option '{wrong}'{nearest(wrong, known)} Known: {all_known}.")
        return function(*args, **options)

    return checked


@refusing_misspelt
def load(
    name: str | Path = "denoise",
    device: str | torch.device = "auto",
    task: str | None = None,
    engine: EngineName = "auto",
    threads: int | None = None,
    *,
    chunk_seconds: float | None = None,
    mix: float = 1.0,
    max_attenuation_db: float | None = None,
    output_rate: int | None = None,
    bandwidth_hz: float | None = None,
    upper_band: bool = True,
    follow_removal: bool = True,
    warm_up: bool = True,
) -> Pipeline:
    """Load a pipeline.

    Args:
        name: a task (its default checkpoint; where it has another above 24 kHz, each recording gets its own),
            a bundled checkpoint's name, or a path.
        device: "cpu", "cuda", "cuda:1" (or torch's device) or "auto", which is the CPU where the checkpoint
            has a graph, else a GPU where there is one.
        task: name of the task that the checkpoint must have; None accepts all.
        engine: "onnx" runs the graph beside the checkpoint, "torch" the model itself, "auto" the graph where
            there is one and the device allows it.
        threads: threads of one step, from 1; None is the engine's default. PyTorch has one number for the
            whole process.
        chunk_seconds: this and all further options are those of `Settings`; a task's own override them.
    Raises:
        StreamError: there is no such option, or a value is out of range.
        CheckpointError: no such checkpoint, or one that cannot be used.
        DeviceError: there is no such device, or the engine does not run on it.
        DependencyError: the engine is not installed.
    """
    given = locals()

    from audiotool import checkpoint, named_checkpoints
    from audiotool.pipeline import Pipeline
    from audiotool.streaming.session import Settings

    # Entry points, which may add tasks, take long to read: not for the name of a bundled checkpoint.
    is_task = str(name) not in named_checkpoints.bundled() and str(name) in TASKS
    path = named_checkpoints.default_for(str(name)) if is_task else named_checkpoints.resolve(name)
    runs, metadata = checkpoint.open_engine(path, device, engine, threads)
    _check_serves(runs, metadata, path)
    if task is not None and metadata.task != task:
        raise UnfitCheckpoint(
            f"{name} was made to {metadata.task}, not to {task}: use `audiotool {metadata.task}`"
        )
    asked = {field.name: given[field.name] for field in dataclasses.fields(Settings) if field.name in given}
    settings = dataclasses.replace(Settings(**asked), **TASKS.get(metadata.task).settings)
    full_band = None
    if is_task:
        wide = named_checkpoints.default_for(str(name), named_checkpoints.FULL_BAND_HZ + 1)
        if wide != path:
            full_band = functools.partial(load, wide, device, task, engine, threads, **asked)
    # A path is the same file from any folder; a name is the same checkpoint on any machine.
    again = name if is_task else named_checkpoints.name_of(path) or path.absolute()
    digest = runs.checkpoint_sha256 or checkpoint.sha256(path)
    reload = functools.partial(_load_same, digest, again, device, task, engine, threads)
    return Pipeline(runs, metadata.task, metadata, settings, digest, full_band, reload)


def _load_same(digest: str, name: str | Path, *arguments: Any) -> Pipeline:
    """Load a pipeline again, in the process to which it was sent.

    Raises:
        CheckpointError: the name or path is of another checkpoint than the one with this SHA-256.
    """
    pipeline = load(name, *arguments)
    if pipeline.checkpoint_sha256 != digest:
        raise CheckpointError(
            f"{name} is another checkpoint here, or has changed since this pipeline was loaded (SHA-256"
            f" {pipeline.checkpoint_sha256:.12}…, not {digest:.12}…): send a pipeline of a file that stays"
        )
    return pipeline


def load_model(path: str | Path, device: str | torch.device = "cpu") -> Model:
    """Load the `torch.nn.Module` of a checkpoint (a path or a bundled name), in eval mode.

    `model(x)` is `model.process(x)`, which takes a whole input (batch, channels, time). Models of other
    projects may take the inputs of their publication there, as GTCRN takes a spectrum.

    Raises:
        CheckpointError, DeviceError: as `load`.
        DependencyError: torch is not installed.
    """
    from audiotool import checkpoint, named_checkpoints
    from audiotool.device import find_device
    from audiotool.extras import require

    require("torch", "load_model")
    return checkpoint.load(named_checkpoints.resolve(path), find_device(device))[0]


def _check_serves(engine: Engine, metadata: Metadata, path: Path) -> None:
    """Check that the model of a checkpoint can serve the checkpoint's task.

    Raises:
        CheckpointError: it cannot.
    """
    found = TASKS.get(metadata.task) if metadata.task in TASKS else None
    if found is None or not found.is_served_by(engine):
        raise CheckpointError(
            f"{path} says that it is for {metadata.task}, its {engine.name} works for"
            f" {', '.join(served_by(engine))}: it is damaged; get it again"
        )
