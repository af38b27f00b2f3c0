"""The private names of PyTorch that audiotool uses; no other module uses any.

A version of PyTorch that moves one of these names is handled here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

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
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

T = TypeVar("T")

__all__ = [
    "TreeSpec",
    "ending_loader",
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


@contextmanager
def ending_loader(batches: Iterator[T]) -> Iterator[Iterator[T]]:
    """Context of a data loader's iterator, whose processes end with it.

    They end with the iterator otherwise, which the traceback of an exception keeps.
    """
    try:
        yield batches
    finally:
        if isinstance(batches, _MultiProcessingDataLoaderIter):
            batches._shutdown_workers()


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
