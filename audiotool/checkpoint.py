"""The checkpoint file: weights and everything needed to use and judge them, in one `.safetensors`.

Metadata is one JSON document under the key "audiotool":

    format      1
    task        "denoise"
    model       {"name": "cleanunet", "config": {...}}
    recipe      the resolved recipe it was trained with, or null when imported
    sample_rate, licence, sources (data sets and their licences), metrics and the commands that measure them,
    training (facts of it), version, created, notes

Nothing is unpickled, so that a checkpoint cannot run code.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import numbers
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from safetensors import SafetensorError, safe_open

from audiotool.atomic import replacing
from audiotool.configuration import Rate, check_types
from audiotool.device import find_device, name_of
from audiotool.documents import DocumentError, read_json
from audiotool.errors import (
    CheckpointError,
    DependencyError,
    DeviceError,
    StreamError,
    UnfitCheckpoint,
)
from audiotool.extras import require
from audiotool.paths import in_utf8
from audiotool.value_types import quote
from audiotool.version import __version__
from audiotool.writable import cause

if TYPE_CHECKING:
    import torch

    from audiotool.engines.base import Engine
    from audiotool.models.base import Model

FORMAT = 1
MOST_THREADS = 1024
"""Greatest number of threads of one step."""

EngineName = Literal["auto", "onnx", "torch"]
"""Names of engines: an exported graph in onnxruntime, the model in PyTorch, or a choice by device and
files."""

_BUILDING = threading.Lock()
"""Lock of torch's random state, which is changed and restored while a model is built."""


@dataclass
class ModelDescription:
    """Description of a model in a checkpoint, see `describe_model`."""

    name: str
    config: dict[str, Any]


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())


@dataclass
class Metadata:
    """Metadata of a checkpoint.

    Args:
        task: name of the task it was trained for.
        model: {"name": registered name, "config": every hyper-parameter}.
        sample_rate: Hz of the model's waveforms.
        recipe: resolved recipe, None when imported.
        licence: licence of the weights.
        sources: data sets, each {"name", "licence", ...}.
        metrics: measured values, {"set": {"metric": value}}.
        commands: command lines that measure them again.
        training: facts (seconds of audio seen, steps, hours, machine).
        notes: free text.
    """

    task: str
    model: dict[str, Any]
    sample_rate: Rate
    recipe: dict[str, Any] | None = None
    licence: str = "unknown"
    sources: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    training: dict[str, Any] = field(default_factory=dict)
    notes: str = ""
    format: int = FORMAT
    version: str = __version__
    created: str = field(default_factory=_now)

    def remade(self) -> Metadata:
        """Return the metadata of other weights that are made of these now: without scores."""
        return dataclasses.replace(self, metrics={}, commands=[], version=__version__, created=_now())


def describe_model(model: Model) -> dict[str, Any]:
    """Return {"name", "config"}, from which `Model.from_config` builds the same model."""
    return {"name": model.name, "config": dataclasses.asdict(model.config)}


def save(path: Path | str, tensors: dict[str, torch.Tensor], metadata: Metadata) -> None:
    """Write a checkpoint, which appears under its name when it is complete.

    Raises:
        CheckpointError: the folder cannot be written or the disk is full.
    """
    from safetensors.torch import save as serialise

    path = Path(path)
    # Paths in a recipe need not be UTF-8; JSON has an escape for their bytes.
    text = json.dumps(dataclasses.asdict(metadata), ensure_ascii=False)
    text = text.encode(errors="backslashreplace").decode()
    plain = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    try:
        with replacing(path) as file:
            file.write(serialise(plain, metadata={"audiotool": text}))
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {cause(error)}") from error


def read_metadata(path: Path | str) -> Metadata:
    """Read the metadata of a checkpoint, without its weights.

    Raises:
        UnfitCheckpoint: not safetensors, or not made by audiotool.
        CheckpointError: missing, damaged, or of a newer format.
    """
    return _open(Path(path), with_tensors=False)[0]


def load(path: Path | str, device: str | torch.device = "cpu") -> tuple[Model, Metadata]:
    """Build the model of a checkpoint with its weights, in eval mode, on `device`.

    Raises:
        CheckpointError: as `read_metadata`, or the weights do not fit their own configuration.
        DependencyError: PyTorch is not installed.
    """
    path = Path(path)
    require("torch", f"the model of {path.name}")
    import torch

    metadata, tensors = _open(path, with_tensors=True)
    model_class = _class_of(metadata, path)
    shapes = {key: tensor.shape for key, tensor in tensors.items()}
    # A model is built with random weights before it gets its own; the caller's random state is restored.
    with _BUILDING, torch.random.fork_rng(devices=[]), torch.device("cpu"), named(path):
        model = model_class.from_config(metadata.model["config"], shapes, str(path))
    if model.sample_rate != metadata.sample_rate:
        raise CheckpointError(
            f"{path} says that it is for {metadata.sample_rate} Hz, its {model.name} works at"
            f" {model.sample_rate} Hz: it is damaged; get it again"
        )
    model.load_weights(tensors, source=str(path))
    return model.eval().to(device), metadata


def stems_of(path: Path | str) -> tuple[str, ...]:
    """Return the names of a checkpoint's outputs.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        DependencyError: the checkpoint has no graph, and PyTorch is not installed.
    """
    graph = graph_of(path)
    if graph is not None:
        from audiotool.engines.card import Card

        return Card.read(graph.with_suffix(".json")).stems
    require("torch", f"the model of {Path(path).name}")
    metadata = read_metadata(path)
    with named(path):
        return _class_of(metadata, path).outline(metadata.model["config"], source=str(path)).stems


@contextlib.contextmanager
def named(path: Path | str) -> Iterator[None]:
    """Name the checkpoint whose configuration is refused, where the error does not."""
    try:
        yield
    except CheckpointError as error:
        if str(path) in str(error):
            raise
        raise CheckpointError(
            f"{path} has a configuration that this audiotool does not take ({error}): it is damaged, or of"
            " another version; get it again"
        ) from error


def _class_of(metadata: Metadata, path: Path | str) -> type[Model]:
    from audiotool.models.registry import MODELS

    name = metadata.model["name"]
    if name not in MODELS:
        raise CheckpointError(
            f"{path} holds a model '{name}' that is not installed here: install the package that adds it"
        )
    return MODELS.get(name)


def graph_of(path: Path | str) -> Path | None:
    """Return the path of the graph beside a checkpoint, or None."""
    graph = Path(path).with_suffix(".onnx")
    return graph if graph.is_file() and graph.with_suffix(".json").is_file() else None


def takes_graph(path: Path | str, device: str, engine: EngineName) -> bool:
    """Whether `open_engine` takes the graph beside a checkpoint, which runs on the CPU, and not PyTorch."""
    if engine == "auto":
        return device in ("auto", "cpu") and graph_of(path) is not None
    return engine == "onnx"


def files_of(path: Path) -> list[Path]:
    """Return the paths of a checkpoint, its graph and the graph's card, as far as they exist."""
    return [
        file for suffix in (".safetensors", ".onnx", ".json") if (file := path.with_suffix(suffix)).is_file()
    ]


def open_engine(
    path: Path | str,
    device: str | torch.device = "auto",
    engine: EngineName = "auto",
    threads: int | None = None,
) -> tuple[Engine, Metadata]:
    """Open the engine of a checkpoint; return it and the checkpoint's metadata.

    Args:
        device: as `find_device`, but "auto" is the CPU for a graph, else CUDA if it is available.
        engine: "auto" uses the graph beside the checkpoint if it exists and the device is a CPU.
        threads: threads of one step, from 1; None is the engine's default. PyTorch has one number for a
            process.
    Raises:
        StreamError: `threads` is no whole number, or out of range.
        CheckpointError: the checkpoint cannot be used, or has no graph.
        DeviceError: the device does not exist, or graphs do not run on it.
        DependencyError: the engine is not installed.
    """
    if engine not in ("auto", "onnx", "torch"):
        raise CheckpointError(f"no engine is called '{engine}': auto, onnx or torch")
    if threads is not None:
        is_whole = isinstance(threads, numbers.Integral) and not isinstance(threads, bool)
        if not is_whole or not 1 <= threads <= MOST_THREADS:
            raise StreamError(f"threads is a whole number from 1 to {MOST_THREADS}, got {quote(threads)}")
        threads = int(threads)
    device = name_of(device)
    metadata = read_metadata(path)
    graph = graph_of(path)
    if engine == "onnx":
        if graph is None:
            raise CheckpointError(
                f"{path} has no graph for --engine onnx: write one beside it with `audiotool models export`,"
                " or take --engine torch"
            )
        if device not in ("auto", "cpu"):
            raise DeviceError(f"graphs run on the CPU, not on {device}: take --engine torch")
    if takes_graph(path, device, engine):
        from audiotool.engines.onnx import OnnxEngine

        assert graph is not None
        return OnnxEngine.open(graph, path, threads), metadata
    require("torch", f"the model of {Path(path).name}")
    try:
        import torch

        from audiotool.engines.pytorch import TorchEngine
    except (ImportError, OSError) as error:
        raise DependencyError(f"PyTorch does not load ({error}): `audiotool doctor` says the fix") from error
    if threads is not None:
        torch.set_num_threads(threads)
    model, metadata = load(path, find_device(device))
    return TorchEngine(model), metadata


def sha256(path: Path | str) -> str:
    """Return the hexadecimal SHA-256 of a file, which is read in pieces."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()


STATE_KEYS = (b"optimiser", b"average", b"progress", b"examples")
"""Keys of a training's state."""

STATE_HEAD = 1 << 20
"""Number of bytes of a state's pickle in which the keys are searched."""


def refuse_state(path: Path) -> None:
    """Check that a file is not a training's state, which has the same file type as official checkpoints.

    Raises:
        UnfitCheckpoint: it is a state; the message names the run's checkpoint.
    """
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            name = next((n for n in archive.namelist() if n.endswith("/data.pkl")), None)
            names = archive.open(name).read(STATE_HEAD) if name else b""
    except Exception:  # a damaged archive can fail in any way
        return
    # The bytes are searched and not unpickled, because unpickling can run code.
    if all(key in names for key in STATE_KEYS):
        run = path.parent.parent
        exported = sorted(run.glob("*.safetensors"), key=lambda p: "-best" not in p.stem)
        use = f"take {exported[0]}" if exported else "it has exported no checkpoint yet"
        raise UnfitCheckpoint(
            f"{path} is the state of a training, which holds more than its weights: {use}, or go on with"
            f" `audiotool train --resume {run}`"
        )


def _refuse_graph(path: Path) -> None:
    """Check that a file is no graph with a card, nor the card of one.

    Raises:
        UnfitCheckpoint: it is; the message says what to give in its place.
    """
    if path.suffix in (".onnx", ".json") and graph_of(path) is not None:
        kind = "a graph" if path.suffix == ".onnx" else "the card of a graph"
        beside = path.with_suffix(".safetensors")
        use = str(beside) if beside.is_file() else "a .safetensors file"
        raise UnfitCheckpoint(f"{path} is {kind}: give the checkpoint that it was made from, {use}")


def _open(path: Path, with_tensors: bool) -> tuple[Metadata, dict[str, torch.Tensor]]:
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    try:
        with in_utf8(path) as place, safe_open(place, framework="pt" if with_tensors else "np") as file:
            text = (file.metadata() or {}).get("audiotool")
            tensors = {k: file.get_tensor(k) for k in file.keys()} if with_tensors else {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        _refuse_graph(path)
        refuse_state(path)
        if _begins_as_safetensors(path):
            raise UnfitCheckpoint(f"{path} is cut off or damaged ({error}): get it again") from error
        raise UnfitCheckpoint(
            f"{path} is not a safetensors file ({error}): official checkpoints of other programs are"
            " converted with `audiotool models import`"
        ) from error
    if text is None:
        raise UnfitCheckpoint(f"{path} has no audiotool metadata: convert it with `audiotool models import`")
    return _parse(text, path), tensors


def _begins_as_safetensors(path: Path) -> bool:
    """Whether a file begins with the length of a JSON object, in 8 bytes, and the object."""
    try:
        with path.open("rb") as file:
            return file.read(9)[8:] == b"{"
    except OSError:
        return False


def _parse(text: str, path: Path) -> Metadata:
    try:
        values = read_json(text)
    except DocumentError:
        values = None
    if isinstance(values, dict) and values.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} has checkpoint format {quote(values.get('format'))}, this audiotool reads {FORMAT}:"
            " upgrade audiotool"
        )
    try:
        found = values if isinstance(values, dict) else {}
        known = {f.name: found[f.name] for f in dataclasses.fields(Metadata) if f.name in found}
        check_types(Metadata, known, "")
        check_types(ModelDescription, known["model"], "model.")
    except CheckpointError as error:
        raise CheckpointError(
            f"{path} does not say which task, model and sample rate it is of ({error}): it is damaged; get it"
            " again, or convert the official checkpoint with `audiotool models import`"
        ) from error
    return Metadata(**known)
