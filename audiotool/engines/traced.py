"""Traced steps: live steps without the time that Python takes.

A model of small layers spends most of a live step in Python, between its operations. In the steady state of a
stream a step returns a state of the same shapes and integers as it was given. Every step is then the same
list of tensor operations, which are traced once (torch.jit.trace) and replayed. Integers of the state become
constants of the trace, so the trace is only used while they stay the same. Before the steady state, and for
models whose state counts or grows, the plain step is used.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Hashable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from audiotool.compat import TreeSpec, tree_flatten, tree_unflatten
from audiotool.models.base import Model, State
from audiotool.models.layers.scripted import compiling

logger = logging.getLogger(__name__)

MOST_HOPS = 24
"""Number of chunks after which a stream is assumed never to reach a steady state."""

WARM_UP = 3
"""Number of runs after which TorchScript has optimised a trace."""


class TracedStep:
    """The traced `model.step` of one chunk; the state is a list of tensors.

    Args:
        model: causal, in eval mode.
        chunk: (B, C, items), the shape of every chunk.
        state: state of a stream in its steady state.
    """

    def __init__(self, model: Model, chunk: Tensor, state: State) -> None:
        self._like = signature(state)
        self._layout = _Layout(state)
        step = _FlatStep(model, self._layout).eval()
        with compiling():
            inputs = (chunk, *self._layout.tensors(state))
            self._traced = torch.jit.trace(step, inputs, check_trace=False)

    def begin(self, state: State) -> Sequence[Tensor] | None:
        """Return the tensors of a state with the traced one's signature; None for any other."""
        return self._layout.tensors(state) if signature(state) == self._like else None

    def __call__(self, chunk: Tensor, tensors: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        """Chunk (B, C, items) and the state's tensors -> output (B, stems * C, T) and the new ones."""
        output, *tensors = self._traced(chunk, *tensors)
        return output, tensors

    def end(self, tensors: Sequence[Tensor]) -> State:
        """Return the state with these tensors, for the plain step."""
        return self._layout.state(tensors)


class _Layout:
    """Converts states that differ in the values of their tensors alone to lists of these tensors, and
    back."""

    def __init__(self, state: State) -> None:
        leaves, self._structure = tree_flatten(state)
        self._constants = [None if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        self._places = [n for n, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]

    def tensors(self, state: State) -> list[Tensor]:
        leaves = tree_flatten(state)[0]
        return [leaves[n] for n in self._places]

    def state(self, tensors: Sequence[Tensor]) -> State:
        leaves: list[Any] = list(self._constants)
        for n, tensor in zip(self._places, tensors, strict=True):
            leaves[n] = tensor
        return tree_unflatten(leaves, self._structure)


class _FlatStep(nn.Module):
    """A step with tensors as arguments: chunk and the state's tensors -> output and the new state's
    tensors."""

    def __init__(self, model: Model, layout: _Layout) -> None:
        super().__init__()
        self.model = model
        self.layout = layout

    def forward(self, chunk: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        output, state = self.model.step(chunk, self.layout.state(tensors))
        return (output, *self.layout.tensors(state))


def signature(state: State) -> tuple[TreeSpec, list[Any]]:
    """Return what two states of one trace have in common: structure, shapes, dtypes, and all values but the
    tensors'."""
    leaves, structure = tree_flatten(state)
    return structure, [(x.shape, x.dtype) if isinstance(x, Tensor) else x for x in leaves]


_FOUND: WeakKeyDictionary[Model, dict[Hashable, TracedStep | None]] = WeakKeyDictionary()


def traced_step(model: Model, shape: tuple[int, int, int], **conditions: Any) -> TracedStep | None:
    """Return the traced step of a model, or None where its streams have no steady state.

    The step is traced on a stream of noise, which takes about half a second, and is kept as long as the
    model. Weights may be changed in place. There is no traced step on a GPU, where it saves nothing.

    Args:
        shape: (B, C, items) of every chunk.
        conditions: arguments of `Model.start` of the stream.
    """
    weights = tuple(itertools.chain(model.parameters(), model.buffers()))
    if model.training or any(t.device.type != "cpu" for t in weights):
        return None
    with torch.inference_mode():
        state = model.start(**conditions)
        # Tensors that were replaced, not changed, are no longer those of the trace.
        key = (shape, str(signature(state)), *(t.data_ptr() for t in weights))
        found = _FOUND.setdefault(model, {})
        if key not in found:
            found[key] = _trace(model, shape, state)
        return found[key]


def _trace(model: Model, shape: tuple[int, int, int], state: State) -> TracedStep | None:
    generator = torch.Generator().manual_seed(0)
    dtype = next(model.parameters()).dtype
    chunks = (0.1 * torch.randn(shape, generator=generator).to(dtype) for _ in itertools.count())
    for chunk in itertools.islice(chunks, MOST_HOPS):
        before, (_, state) = signature(state), model.step(chunk, state)
        if signature(state) == before:
            break
    else:
        logger.debug("%s: live streams have no steady state after %d chunks", model.name, MOST_HOPS)
        return None
    try:
        step = TracedStep(model, next(chunks), state)
    except RuntimeError as error:
        logger.debug("%s: its live step cannot be traced: %s", model.name, error)
        return None
    tensors = step.begin(state)
    assert tensors is not None
    for chunk in itertools.islice(chunks, WARM_UP):
        _, tensors = step(chunk, tensors)
    return step
