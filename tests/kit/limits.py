"""Limits of the system on this process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def open_files_left(count: int) -> Iterator[None]:
    """Let this process open so many more files, and no more."""
    resource = pytest.importorskip("resource")
    free = [os.open(os.devnull, os.O_RDONLY) for _ in range(count)]
    for file in free:
        os.close(file)
    before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    # A new file gets the smallest free number: all others below the greatest of these are in use.
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(free) + 1, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before, most))
