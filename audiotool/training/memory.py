"""Memory of the process that trains."""

from __future__ import annotations

import ctypes
import sys

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
