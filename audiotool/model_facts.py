"""Facts of models that are known without running them: those of a checkpoint, and of each architecture."""

from __future__ import annotations

import json
import logging
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from audiotool import checkpoint, models
from audiotool.checkpoint import Metadata
from audiotool.errors import CheckpointError
from audiotool.extras import install, is_there
from audiotool.tasks.base import served_by
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
