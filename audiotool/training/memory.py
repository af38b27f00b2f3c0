"""Memory of the process that trains: what the C library keeps, and what to say when there is no more."""

from __future__ import annotations

import ctypes
import sys
from typing import TYPE_CHECKING

import torch

from audiotool.errors import DeviceError

if TYPE_CHECKING:
    from audiotool.recipe.schema import Recipe

# Of glibc's <malloc.h>.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_HEADROOM = 256 << 20
"""Bytes that the heap grows by."""


def keep_freed_memory() -> None:
    """Let the C library keep freed memory for the next step of training.

    Every step allocates the same large tensors. glibc maps each of them anew and unmaps it when it is freed:
    the system clears all their pages in every step. Other C libraries are left as they are.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # musl
        return
    mallopt(_MMAP_MAX, 0)
    mallopt(_TRIM_THRESHOLD, -1)
    mallopt(_TOP_PAD, _HEADROOM)


def ran_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that the memory of the CPU or the device ran out."""
    text = str(error)
    said = "can't allocate memory" in text or "out of memory" in text
    return said or isinstance(error, torch.OutOfMemoryError)


def advise_on_memory(error: BaseException, recipe: Recipe) -> DeviceError | None:
    """Return the error to raise in place of `error` if that means that memory ran out, else None."""
    if not ran_out_of_memory(error):
        return None
    train, seconds = recipe.train, recipe.audio.segment_seconds
    precision = "" if train.precision != "fp32" else ", or set train.precision=bf16"
    return DeviceError(
        f"out of memory in training: lower train.batch_size (now {train.batch_size}; raise train.accumulate,"
        f" now {train.accumulate}, by the same factor to keep the effective batch) or audio.segment_seconds"
        f" (now {seconds}){precision}"
    )
