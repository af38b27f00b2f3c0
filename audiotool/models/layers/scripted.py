"""Loops over steps that run outside Python."""

from __future__ import annotations

import contextlib
import functools
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch

_COMPILING = threading.Lock()


@contextlib.contextmanager
def compiling() -> Iterator[None]:
    """Compile to TorchScript without its warnings, one thread at a time.

    The filters of warnings belong to the whole process: two threads that put them aside at once would leave
    ours behind.
    """
    with _COMPILING, warnings.catch_warnings():
        # Deprecated since torch 2.10 in favour of torch.compile, which wants a C++ compiler, and of
        # torch.export, whose programs run in Python.
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        # Lengths and integers decide what a traced step does, and they do not change.
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)  # type: ignore[attr-defined]
        yield


@functools.cache
def scripted(steps: Callable[..., None]) -> Callable[..., None]:
    """A function of tensors and numbers, compiled to TorchScript when it is first asked for.

    A recurrence is a loop of small operations; the interpreter of TorchScript takes about 1 us less for each
    than Python does. It cannot be called while another function is traced (torch.jit.is_tracing()).
    """
    with compiling():
        compiled = torch.jit.script(steps)

    @functools.wraps(steps)
    def run(*arguments: Any) -> None:
        # The loop is as fast without TorchScript's optimiser, which would cost the first calls 0.1 s.
        with torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
            compiled(*arguments)

    return run
