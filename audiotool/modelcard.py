"""Model cards: the metadata of checkpoints as Markdown."""

from __future__ import annotations

import json
import logging
import pkgutil
import re
import shlex
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from audiotool import checkpoint, models, named_checkpoints
from audiotool.atomic import write_text
from audiotool.checkpoint import Metadata
from audiotool.errors import CheckpointError, InputError
from audiotool.extras import install, is_there
from audiotool.interpreter import python
from audiotool.metrics.rows import Row, comparable, means
from audiotool.report.json_document import read_json_report
from audiotool.report.markdown_table import escaped
from audiotool.tasks.base import TASKS, served_by
from audiotool.text import one_line

if TYPE_CHECKING:
    from audiotool.engines.card import Card
    from audiotool.models.base import Model

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Facts:
    """Facts of a model that are known without running it.

    Args:
        latency: latency in output samples; None for unbounded look-ahead.
        parameters, causal: None where the model cannot be built to count and ask.
    """

    name: str
    reference: str
    tasks: tuple[str, ...]
    parameters: int | None
    sample_rate: int
    latency: int | None
    causal: bool | None
    stems: tuple[str, ...]
    channels: int | None

    @classmethod
    def of(cls, model: Model) -> Facts:
        """Return the facts of a model."""
        return cls(
            name=model.name,
            reference=model.reference,
            tasks=served_by(model),
            parameters=model.parameter_count,
            sample_rate=model.sample_rate,
            latency=model.latency if model.causal or model.context is not None else None,
            causal=model.causal,
            stems=model.stems,
            channels=model.channels,
        )

    @classmethod
    def of_graph(cls, card: Card) -> Facts:
        """Return the facts of an exported model."""
        return cls(
            name=card.name,
            reference=card.reference,
            tasks=(card.task,),
            parameters=card.parameters,
            sample_rate=card.sample_rate,
            latency=card.latency,
            causal=True,
            stems=card.stems,
            channels=card.channels,
        )

    @classmethod
    def of_metadata(cls, metadata: Metadata) -> Facts:
        """Return what is known of a model without building it."""
        return cls(
            name=metadata.model["name"],
            reference="",
            tasks=(metadata.task,),
            parameters=None,
            sample_rate=metadata.sample_rate,
            latency=None,
            causal=None,
            stems=(),
            channels=None,
        )

    def row(self) -> dict[str, Any]:
        """Return the facts as a row of lists."""
        return {
            "model": self.name,
            "tasks": list(self.tasks),
            "sample_rate": self.sample_rate,
            "parameters": self.parameters,
            "latency_ms": None if self.latency_ms is None else round(self.latency_ms, 2),
            "causal": self.causal,
        }

    @property
    def latency_ms(self) -> float | None:
        """`latency` in milliseconds."""
        return None if self.latency is None else 1000 * self.latency / self.sample_rate


def facts_of(path: Path, metadata: Metadata, cost: bool = False) -> tuple[Facts, float | None]:
    """Return the facts of a checkpoint's model and, if `cost`, its multiply-accumulates a second of audio.

    They are those of its graph's card; without one those of the model, or of the metadata where PyTorch is
    missing.
    """
    card = _card_of_graph(path)
    if card is not None and (not cost or card.macs_per_second is not None):
        return Facts.of_graph(card), card.macs_per_second
    if not is_there("torch"):
        log.warning(
            "parameters and latency of %s need torch, which is not installed: %s", path.name, install("torch")
        )
        return Facts.of_metadata(metadata), None
    model = _built(path, metadata.model, real=cost)
    if not cost:
        return Facts.of(model), None
    from audiotool.engines.cost import count_macs

    return Facts.of(model), count_macs(model)


def _card_of_graph(path: Path) -> Card | None:
    """Return the card of the graph beside a checkpoint; None without one, or if that is of another file."""
    from audiotool.engines.card import Card

    graph = checkpoint.graph_of(path)
    if graph is None:
        return None
    try:
        card = Card.read(graph.with_suffix(".json"))
    except CheckpointError:  # of an earlier checkpoint, whose tensors it names, or no card
        return None
    return card if card.checkpoint_sha256 == checkpoint.sha256(path) else None


def _built(path: Path, description: Mapping[str, Any], real: bool) -> Model:
    """Return the model of a checkpoint's description {"name", "config"}.

    Args:
        real: allocate weights that can be run; otherwise the weights take no memory.
    """
    from audiotool.models.registry import MODELS

    model_class, config = MODELS.get(description["name"]), description["config"]
    with checkpoint.named(path):
        return model_class.from_config(config).eval() if real else model_class.outline(config)


SHARED = {"base", "discriminators", "layers", "magnitude_phase", "registry", "vocoder"}
"""Modules of `audiotool.models` that hold no architecture."""


def published() -> list[dict[str, Any]]:
    """Return the stored facts of every architecture with its published settings.

    `scripts/write_model_table.py` stores them, because building all networks takes seconds and needs PyTorch.
    Facts of models without stored ones, as of other packages, are computed where PyTorch is installed.
    """
    text = (Path(models.__file__).parent / "published.json").read_text("utf-8")
    rows = {row["model"]: _with_tasks(**row) for row in json.loads(text)}
    files = {found.name for found in pkgutil.iter_modules(models.__path__)}
    unknown = files - {name.replace("-", "_") for name in rows} - SHARED
    # The catalogue itself would import PyTorch.
    if (unknown or entry_points(group=models.__name__)) and is_there("torch"):
        from audiotool.models.registry import MODELS

        rows |= _computed({name: found for name, found in MODELS.all().items() if name not in rows})
    return [rows[name] for name in sorted(rows)]


def _computed(classes: Mapping[str, type[Model]]) -> dict[str, dict[str, Any]]:
    """Return the facts of models; one of another package that cannot be built is left out, with a warning."""
    from audiotool.engines.cost import count_macs
    from audiotool.models.registry import MODELS

    rows = {}
    for name, model_class in classes.items():
        try:
            macs = count_macs(model_class.from_config().eval())
            rows[name] = {**Facts.of(model_class.outline({})).row(), "macs_per_second": macs}
        except Exception as error:
            package = MODELS.package_of(name)
            if package is None:
                raise
            reason = one_line(f"{type(error).__name__}: {error}")
            log.warning("model '%s' of package %s is left out: %s", name, package, reason)
    return rows


def _with_tasks(model: str, takes: list[str], gives: list[str], **facts: Any) -> dict[str, Any]:
    """Return a row with the current tasks in place of the stored ones."""
    served = served_by(SimpleNamespace(takes=tuple(takes), gives=tuple(gives)))
    return {"model": model, "tasks": list(served), **facts}


def write_card(path: Path, card_path: Path | None = None, test: Path | None = None) -> Path:
    """Write the card of a checkpoint file, beside it unless `card_path` says where.

    Args:
        test: folder with noisy/ and clean/, on which the checkpoint is measured for rows of the card.
    Returns:
        Where the card is.
    Raises:
        CheckpointError: the checkpoint cannot be read.
        InputError: the card cannot be written, the folder holds no test set, or it could not be processed.
    """
    target = card_path or path.with_suffix(".md")
    write_text(target, card_of(path, test))
    return target


def card_of(path: Path, test: Path | None = None) -> str:
    """Return the card of a checkpoint file; arguments and errors as of `write_card`."""
    metadata = checkpoint.read_metadata(path)
    facts, _ = facts_of(path, metadata)
    if test is not None:
        metadata.metrics |= measure(path, metadata.task, test, "measured here")
    return card(path.stem, metadata, facts, checkpoint.sha256(path))


def measure(
    path: Path, task: str, test: Path, name: str, options: Sequence[str] = ()
) -> dict[str, dict[str, float]]:
    """Compute mean scores of a checkpoint on a test set, with the task's command.

    Args:
        test: folder with noisy/ and clean/, as `audiotool data mix` renders it.
        name: name of the set in the names of rows.
        options: options of the command.
    Returns:
        {"NAME, 3 files": {metric: mean}, "NAME, input": the same of the unprocessed files}. All means are
        over the same files: "NAME, 3 of 4 files" where one lacks a number.
    Raises:
        InputError: there is no such set, or a file of it failed.
    """
    if not all((test / folder).is_dir() for folder in ("noisy", "clean")):
        raise InputError(f"{test} holds no noisy/ and clean/: `audiotool data mix` renders a test set")
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        words = [task, test / "noisy", "-o", Path(folder, "out"), "--checkpoint", path, "--quiet"]
        words += ["--reference", test / "clean", "--report", report, *options]
        command = python("from audiotool.__main__ import main\nmain()", *map(str, words))
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", errors="replace")
        if done.returncode:
            complaints = done.stderr.strip().splitlines() or ["it said nothing"]
            raise InputError(f"{test} could not be processed: {complaints[-1]}")
        return means_of(read_json_report(report).rows, TASKS.get(task).scoring.metrics, name)


def means_of(rows: Sequence[Row], metrics: Sequence[str], name: str) -> dict[str, dict[str, float]]:
    """Return the means of rows for a card, as `measure` does."""
    counted = comparable(rows, *metrics)
    number = len(rows) if len(counted) == len(rows) else f"{len(counted)} of {len(rows)}"
    found = {metric: means(counted, metric) for metric in metrics}
    sides = {
        f"{name}, {number} files": {m: mean.after for m, mean in found.items() if mean.after is not None},
        f"{name}, input": {m: mean.before for m, mean in found.items() if mean.before is not None},
    }
    return {row: values for row, values in sides.items() if values}


def card(name: str, metadata: Metadata, facts: Facts, digest: str) -> str:
    """Write a checkpoint's card as Markdown; missing facts are written as unknown.

    Args:
        digest: hexadecimal SHA-256 of the file.
    """
    use = {
        "task": metadata.task,
        "architecture": f"{facts.name}{', ' + facts.reference if facts.reference else ''}",
        "sample rate": f"{facts.sample_rate} Hz",
        "parameters": "unknown" if facts.parameters is None else f"{facts.parameters:,}",
        "latency": _latency(facts),
        "outputs": ", ".join(facts.stems) or "unknown",
        "licence of the weights": metadata.licence,
        "created": f"{metadata.created}, audiotool {metadata.version}",
    }
    facts_table = f"{_table(('', ''), use.items())}\n| SHA-256 | `{digest}` |"
    parts = [f"# {escaped(name)}", facts_table, escaped(metadata.notes)]
    parts += ["## Use", _code([_use(name, metadata, facts)])]
    parts += ["## Measured", _metrics(metadata.metrics), _code(metadata.commands)]
    parts += [
        "## Training",
        _code(_train(name, metadata)),
        _listing(metadata.training) or "Not known: imported weights.",
    ]
    parts += ["## Data", _sources(metadata.sources)]
    parts += ["## Configuration", _listing(metadata.model.get("config", {}))]
    return "\n\n".join(part for part in parts if part) + "\n"


def _use(name: str, metadata: Metadata, facts: Facts) -> str:
    model = (
        ("--model", name) if name in named_checkpoints.named() else ("--checkpoint", f"{name}.safetensors")
    )
    output = "stems/" if len(facts.stems) > 1 else "out.wav"
    return shlex.join(("audiotool", metadata.task, "in.wav", "-o", output, *model))


def _train(name: str, metadata: Metadata) -> list[str]:
    if not metadata.recipe:
        return []
    # The recipe's name does not tell where the recipe is, nor what --set changed in it.
    return [shlex.join(("audiotool", "train", f"{name}.safetensors", "--set", "data.root=DATA"))]


def _code(commands: Sequence[str]) -> str:
    """Write commands as a block of code, whose fence is longer than any row of backticks in it."""
    if not commands:
        return ""
    lines = [one_line(command) for command in commands]
    fence = "`" * max(3, *(1 + len(row) for row in re.findall("`*", "\n".join(lines))))
    return "\n".join((f"{fence}sh", *lines, fence))


def _latency(facts: Facts) -> str:
    if facts.causal is None:
        return "unknown"
    if facts.latency is None:
        return "looks ahead without bound, and is streamed in segments that are cross-faded"
    latency = f"{facts.latency} samples ({facts.latency_ms:.1f} ms)"
    return latency if facts.causal else f"{latency} of look-ahead, and a segment"


def _metrics(metrics: Mapping[str, Any]) -> str:
    """Write one table of all sets: a row for each set, a column for each metric."""
    sets = {name: values for name, values in metrics.items() if isinstance(values, Mapping)}
    columns = list(dict.fromkeys(key for values in sets.values() for key in values))
    if not columns:
        return "Not measured."
    rows = [(name, *(_number(values.get(c, "")) for c in columns)) for name, values in sets.items()]
    return _table(("set", *columns), rows)


def _sources(sources: Sequence[Mapping[str, Any]]) -> str:
    if not sources:
        return "Not known."
    columns = list(dict.fromkeys(key for source in sources for key in source))
    return _table(columns, [[_number(source.get(c, "")) for c in columns] for source in sources])


def _listing(values: Mapping[str, Any]) -> str:
    lines = (f"{key.replace('_', ' ')}: {_number(value)}" for key, value in values.items())
    return "\n".join(f"- {escaped(line)}" for line in lines)


def _table(heading: Sequence[str], rows: Any) -> str:
    lines = [map(escaped, heading), ["---"] * len(heading), *(map(escaped, row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_number, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{key.replace('_', ' ')} {_number(item)}" for key, item in value.items())
    return str(value)
