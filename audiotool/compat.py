"""The private names of PyTorch that audiotool uses; no other module uses any.

A version of PyTorch that moves one of these names is handled here.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import IO, Any, TypeVar

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
    "plain_weights",
    "tree_any",
    "tree_flatten",
    "tree_flatten_with_path",
    "tree_leaves",
    "tree_map",
    "tree_unflatten",
    "weight_norm",
]


TENSOR_CALLS = ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2")
"""What files call to make tensors."""

PLAIN_CALLS = (
    *("collections.OrderedDict", "collections.Counter", "builtins.set", "builtins.complex"),
    *("torch.Size", "torch.device", "torch.nn.parameter.Parameter"),
    *("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"),
)
"""What else files of weights call. Others that torch allows make any amount of memory from a few bytes:
`bytearray` and `torch.Tensor` from a size, `_codecs.encode` by hexadecimal digits of its own result."""

_READING = threading.Lock()


@contextmanager
def plain_weights(check: Callable[[Tensor], None], examine: Callable[[IO[bytes]], None]) -> Iterator[None]:
    """Context in which `torch.load` with `weights_only` makes tensors and plain values, and nothing else.

    This holds for all threads of the process: PyTorch has one table of what may be called.

    Args:
        check: called with each tensor when it is made; raises where the tensor is not to be read.
        examine: called with the file before each pickle in it is read, at the pickle's beginning, where it
            leaves the file; raises where the pickle is not to be read.
    """

    # Importers alone read files, and no other part of audiotool is to fail where this module has moved.
    import torch._weights_only_unpickler as reader

    class Examined(reader.Unpickler):
        def __init__(self, file: IO[bytes], **options: Any) -> None:
            examine(file)
            super().__init__(file, **options)

    def checking(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
        @functools.wraps(make)
        def made(*arguments: Any) -> Tensor:
            tensor = make(*arguments)
            check(tensor)
            return tensor

        return made

    allowed = reader._get_allowed_globals()
    with _READING:
        whole, unpickler = dict(allowed), reader.Unpickler
        try:
            reader.Unpickler = Examined  # type: ignore[misc]
            for name, value in whole.items():
                if name in TENSOR_CALLS:
                    allowed[name] = checking(value)
                elif callable(value) and name not in PLAIN_CALLS:
                    del allowed[name]
            yield
        finally:
            reader.Unpickler = unpickler  # type: ignore[misc]
            allowed.update(whole)


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
