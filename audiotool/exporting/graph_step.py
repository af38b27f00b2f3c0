"""A causal model's step as a function from tensors to tensors, which can be exported as a graph.

A stream is in its steady state when its state has the same shapes after every hop. Each step then outputs as
many samples as it takes, by the same operations. The graph is that step. A stream of the graph also begins in
the steady state, as after endless silence. The first `delay` samples of its output belong to that silence and
are dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from audiotool.compat import tree_flatten, tree_flatten_with_path, tree_unflatten
from audiotool.errors import ExportError
from audiotool.models.base import Model, State

BATCH, HOPS = 3, 5
"""Numbers of streams and hops with which a program is traced; both are free in the graph."""

MOST_CHUNKS = 48
"""Number of chunks of `HOPS` hops after which a stream is assumed never to reach a steady state."""


@dataclass(frozen=True)
class StateTensor:
    """One tensor of a stream's state.

    Args:
        name: path in the state: "layers.0".
        example: value in a stream, (BATCH, ...) unless all streams of a batch share it.
        start: value at the beginning of a stream, without the batch axis.
    """

    name: str
    example: Tensor
    start: Tensor

    @property
    def per_stream(self) -> bool:
        """Whether each stream of a batch has its own value, along the first axis."""
        return self.example.dim() > 0 and self.example.shape[0] == BATCH


class GraphStep(nn.Module):
    """(input, state tensors) -> (output, state tensors) of a model's streams in their steady state.

    Attributes:
        chunk: an example of the input.
        states: the state's tensors; complex ones have a last axis (real, imaginary).
        delay: number of output samples before the stream's first sample.
    Raises:
        ExportError: the model's streams have no steady state; the message gives the reason.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model
        begun = _graph_start(model)
        if begun is None:
            self.chunk, state, self.delay = _reach_steady_state(model)
        else:
            self.chunk = _noise(model, torch.Generator().manual_seed(0))
            state, self.delay = begun, model.delay
        leaves, self._structure = tree_flatten(state)
        self._constants = [None if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        self._places = [n for n, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        self._complex = [leaves[n].is_complex() for n in self._places]
        given = dict(_named(model.beginning()))
        self.states = []
        for n, (name, leaf) in enumerate(_named(state)):
            if n in self._places:
                example = (torch.view_as_real(leaf) if leaf.is_complex() else leaf).detach().clone()
                start = torch.zeros_like(example[0] if example.dim() else example)
                self.states.append(StateTensor(name, example, given.get(name, start).detach().clone()))

    def forward(self, chunk: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        leaves: list[Any] = list(self._constants)
        for n, is_complex, tensor in zip(self._places, self._complex, tensors, strict=True):
            leaves[n] = torch.view_as_complex(tensor) if is_complex else tensor
        output, state = self.model.step(chunk, tree_unflatten(leaves, self._structure))
        new = tree_flatten(state)[0]
        return (output, *(new[n] for n in self._places))


def refusal(model: Model) -> str | None:
    """Return why a model has no graph; None where it has one, or where only tracing shows it."""
    try:
        _graph_start(model)
    except ExportError as error:
        return str(error)
    return None


def _graph_start(model: Model) -> State | None:
    """Return the state in which the model's graph begins, see `Model.graph_start`.

    Raises:
        ExportError: the model cannot be stepped by hops; the message gives the reason.
    """
    if not model.causal:
        raise ExportError("it looks ahead and processes whole segments: a graph goes from hop to hop")
    if model.autoregressive:
        raise ExportError(
            "it computes every sample from those before it: a graph takes whole hops, and one a sample"
            " would copy what all layers remember that often"
        )
    return model.graph_start(BATCH)


def _reach_steady_state(model: Model) -> tuple[Tensor, State, int]:
    """Return a chunk of `HOPS` hops, the state of a stream in its steady state, and the stream's delay."""
    generator = torch.Generator().manual_seed(0)
    state, fed, emitted = model.start(**model.unknown_conditions()), 0, 0
    changed = [""]
    with torch.no_grad():
        for _ in range(MOST_CHUNKS):
            chunk = _noise(model, generator)
            before, (output, state) = _signature(state), model.step(chunk, state)
            fed += chunk.shape[-1] * model.upsampling
            emitted += output.shape[-1]
            after = _signature(state)
            changed = [name for name, form in after.items() if before.get(name) != form]
            if not changed and output.shape[-1] == chunk.shape[-1] * model.upsampling:
                return chunk, state, fed - emitted
    raise ExportError(f"its state grows or counts as a stream goes on ({', '.join(changed[:3])})")


def _noise(model: Model, generator: torch.Generator) -> Tensor:
    """Return a chunk of `HOPS` hops of noise."""
    items = HOPS * model.hop_length
    return 0.1 * torch.randn(BATCH, model.input_channels, items, generator=generator)


def _signature(state: State) -> dict[str, Any]:
    """Return the parts of each leaf that stay the same in a steady state: shape and type of a tensor, other
    values."""
    return {
        name: (leaf.shape, leaf.dtype) if isinstance(leaf, Tensor) else leaf for name, leaf in _named(state)
    }


def _named(state: State) -> list[tuple[str, Any]]:
    """Return each leaf of a state with its path, such as "layers.0"; a state of one tensor is "state"."""
    return [
        (".".join(str(getattr(key, "key", getattr(key, "idx", ""))) for key in path) or "state", leaf)
        for path, leaf in tree_flatten_with_path(state)[0]
    ]
