"""Loops over steps that run outside Python."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import torch


@functools.cache
def scripted(steps: Callable[..., None]) -> Callable[..., None]:
    """A function of tensors and numbers, compiled to TorchScript when it is first asked for.

    A recurrence is a loop of small operations; the interpreter of TorchScript takes about 1 us less for each
    than Python does. It cannot be called while another function is traced (torch.jit.is_tracing()).
    """
    with warnings.catch_warnings():
        # Deprecated since torch 2.10 in favour of torch.compile, which wants a C++ compiler.
        warnings.filterwarnings("ignore", "`torch.jit.script", DeprecationWarning)
        compiled = torch.jit.script(steps)

    @functools.wraps(steps)
    def run(*arguments: Any) -> None:
        # The loop is as fast without TorchScript's optimiser, which would cost the first calls 0.1 s.
        with torch.jit.optimized_execution(False):
            compiled(*arguments)

    return run
