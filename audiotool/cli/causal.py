"""Refuse models that look ahead, where a stream has to be live."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from audiotool.errors import AudiotoolError, StreamError

if TYPE_CHECKING:
    from audiotool.pipeline import Pipeline


def causal(pipeline: Pipeline) -> Pipeline:
    """Return the pipeline if its model is causal.

    Raises:
        StreamError: the model looks ahead; the message names the causal checkpoints of its task.
    """
    if pipeline.engine.causal:
        return pipeline
    fitting = ", ".join(causal_checkpoints(pipeline.task)) or "none"
    raise StreamError(f"{pipeline.engine.name} looks ahead and cannot run live; causal ones are: {fitting}")


def causal_checkpoints(task: str) -> list[str]:
    """Return the names of the checkpoints of a task, bundled and imported, whose models are causal."""
    from audiotool.named_checkpoints import made_for

    found = []
    for name, path in made_for(task).items():
        with contextlib.suppress(AudiotoolError):  # one that cannot be used cannot be suggested
            if _is_causal(path):
                found.append(name)
    return found


def _is_causal(path: Path) -> bool:
    from audiotool.checkpoint import graph_of, read_metadata

    if graph_of(path) is not None:  # only causal models have graphs
        return True
    # A model that looks ahead has no graph, so PyTorch is installed where one was loaded.
    from audiotool.models.registry import MODELS

    model = read_metadata(path).model
    return MODELS.get(model["name"]).outline(model["config"]).causal
