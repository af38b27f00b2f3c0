"""Many streams of a PyTorch model stepped together: their states are rows of common tensors.

The batch axis of each tensor of a state is found by stepping two streams together and each alone. Streams
are stepped alone if their states differ in more than the values of tensors: if they count, or grow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from audiotool.compat import TreeSpec, tree_flatten, tree_unflatten
from audiotool.engines.base import Rows, State
from audiotool.models.base import Model

MOST_HOPS = 24
"""Number of chunks after which a stream is assumed never to reach a steady state."""

CLOSE = 1e-3
"""Tolerance of comparing states of two streams, stepped together and alone: rounding."""


@dataclass(frozen=True)
class Layout:
    """The batch axes of a state in the steady state.

    Args:
        like: `signature` of a state of one row.
        leaves: leaves of such a state: zeros for tensors with a batch axis, the constant for the others.
        structure: structure of the pytree.
        axes: batch axis of each leaf; None for a leaf that is no tensor.
    """

    like: Any
    leaves: list[Any]
    structure: Any
    axes: list[int | None]


class CommonStates:
    """States of many streams as rows of common tensors.

    Args:
        layout: result of `find_layout`.
        capacity: number of rows.
    """

    def __init__(self, layout: Layout, capacity: int) -> None:
        self.layout = layout
        self.capacity = capacity
        places = zip(layout.leaves, layout.axes, strict=True)
        self._leaves = [
            leaf if axis is None else leaf.repeat_interleave(capacity, axis) for leaf, axis in places
        ]

    def insert(self, rows: Rows, state: State) -> bool:
        """Set rows to a state of `len(rows)` rows; return False where it does not have the layout."""
        if signature(_first_row(state, self.layout, len(rows))) != self.layout.like:
            return False
        leaves = tree_flatten(state)[0]
        for common, axis, own in zip(self._leaves, self.layout.axes, leaves, strict=True):
            if axis is None and isinstance(common, Tensor) and not torch.equal(common, own):
                return False
        self.put(rows, state)
        return True

    def get(self, rows: Sequence[int]) -> State:
        """Return a copy of the state of some rows."""
        found = []
        for leaf, axis in zip(self._leaves, self.layout.axes, strict=True):
            if axis is not None:
                index = torch.tensor(rows, device=leaf.device)
                some = _unfolded(leaf, axis, self.capacity).index_select(axis, index)
                leaf = some.flatten(axis, axis + 1)
            found.append(leaf)
        return tree_unflatten(found, self.layout.structure)

    def put(self, rows: Sequence[int], state: State) -> None:
        """Set rows to a state that a step of them returned."""
        leaves = tree_flatten(state)[0]
        for common, axis, leaf in zip(self._leaves, self.layout.axes, leaves, strict=True):
            if axis is not None:
                index = torch.tensor(rows, device=common.device)
                new = _unfolded(leaf, axis, len(rows))
                _unfolded(common, axis, self.capacity).index_copy_(axis, index, new)


def signature(state: State) -> tuple[TreeSpec, list[Any]]:
    """Return the structure of a state, the shapes and dtypes of its tensors, and its other values."""
    leaves, structure = tree_flatten(state)
    return structure, [(x.shape, x.dtype) if isinstance(x, Tensor) else x for x in leaves]


def _unfolded(tensor: Tensor, axis: int, rows: int) -> Tensor:
    """Split the batch axis into rows and the items that a model folds into the batch for each row (bands,
    channels)."""
    return tensor.unflatten(axis, (rows, tensor.shape[axis] // rows))


def _first_row(state: State, layout: Layout, count: int) -> State:
    """Return the first row of a state of `count` rows; a state of another layout is returned as it is."""
    leaves, structure = tree_flatten(state)
    if count == 1 or structure != layout.structure:
        return state
    first = [
        leaf if axis is None else _unfolded(leaf, axis, count).narrow(axis, 0, 1).flatten(axis, axis + 1)
        for leaf, axis in zip(leaves, layout.axes, strict=True)
    ]
    return tree_unflatten(first, structure)


def find_layout(model: Model) -> Layout | None:
    """Find the layout of a model's states in the steady state; None where its streams cannot be stepped
    together."""
    generator = torch.Generator().manual_seed(0)
    reference = next(model.parameters())
    shape = (2, model.input_channels, model.hop_length)
    states: list[State] = [model.start() for _ in range(3)]
    for _ in range(MOST_HOPS):
        before = states
        x = (0.1 * torch.randn(shape, generator=generator)).to(reference)
        try:
            states = [model.step(part, s)[1] for part, s in zip((x[:1], x[1:], x), states, strict=True)]
        except RuntimeError:
            return None
        if signature(states[0]) == signature(before[0]) and _common(states) == _common(before):
            break
    else:
        return None
    (one, structure), (two, other), (both, last) = (tree_flatten(state) for state in states)
    if not structure == other == last:
        return None
    axes = [_axis(*leaves) for leaves in zip(one, two, both, strict=True)]
    if any(axis == -1 for axis in axes):
        return None
    zeros = [leaf if axis is None else torch.zeros_like(leaf) for leaf, axis in zip(one, axes, strict=True)]
    return Layout(signature(states[0]), zeros, structure, axes)


def _common(states: list[State]) -> list[list[float]]:
    """Return the values of the tensors without a batch axis, from streams alone and together."""
    one, _, both = (tree_flatten(state)[0] for state in states)
    pairs = zip(one, both, strict=True) if len(one) == len(both) else ()
    return [a.flatten().tolist() for a, b in pairs if isinstance(a, Tensor) and a.shape == b.shape]


def _axis(one: Any, two: Any, both: Any) -> int | None:
    """Return the batch axis of a leaf, from two streams alone and together; None: no batch axis; -1: not
    separable by rows."""
    if not isinstance(one, Tensor):
        return None if one == two == both else -1
    if one.shape == both.shape:
        return None if torch.equal(one, both) and torch.equal(one, two) else -1
    batch_axes = [n for n, (a, b) in enumerate(zip(one.shape, both.shape, strict=True)) if a != b]
    if len(batch_axes) != 1 or both.shape[batch_axes[0]] != 2 * one.shape[batch_axes[0]]:
        return -1
    expected = torch.cat((one, two), dim=batch_axes[0])
    return batch_axes[0] if torch.allclose(both, expected, rtol=CLOSE, atol=CLOSE) else -1
