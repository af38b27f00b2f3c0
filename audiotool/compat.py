"""The private names of PyTorch that audiotool uses; no other module uses any.

A version of PyTorch that moves one of these names is handled here.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import (
    TreeSpec,
    tree_any,
    tree_flatten,
    tree_flatten_with_path,
    tree_leaves,
    tree_map,
    tree_unflatten,
)

__all__ = [
    "TreeSpec",
    "fake_tensors",
    "lerp_",
    "tree_any",
    "tree_flatten",
    "tree_flatten_with_path",
    "tree_leaves",
    "tree_map",
    "tree_unflatten",
    "weight_norm",
]


def fake_tensors() -> AbstractContextManager[Any]:
    """Context in which tensors have shapes and no values; its `from_tensor` converts a real tensor."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    return FakeTensorMode(allow_non_fake_inputs=True)


def lerp_(tensors: list[Tensor], ends: list[Tensor], weight: float) -> None:
    """Interpolate each tensor in place towards its end by `weight`, in one call."""
    torch._foreach_lerp_(tensors, ends, weight)


def weight_norm(v: Tensor, g: Tensor, dim: int) -> Tensor:
    """Return the weight g * v / |v|, with the norm over all axes but `dim`."""
    return torch._weight_norm(v, g, dim)
