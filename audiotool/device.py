"""The device that is asked for, and what is said when it is not there or has no memory left."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from audiotool.errors import DeviceError

KINDS = ("cpu", "cuda", "mps")


def find_device(name: str) -> torch.device:
    """A torch device from "auto", "cpu", "cuda", "cuda:1" or "mps".

    "auto" is CUDA where there is one, else the CPU: Apple's GPU is taken by name only, as no model has been
    run on it yet.

    Raises:
        DeviceError: it is unknown or not present.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    advice = f"there is no device '{name}' here: try --device cpu (or auto, cuda, cuda:N, mps)"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise DeviceError(advice) from error
    if device.type not in KINDS or (device.type == "cpu" and device.index is not None):
        raise DeviceError(advice)
    return device


@contextlib.contextmanager
def device_errors() -> Iterator[None]:
    """Say what to do when a device has no memory left."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise DeviceError("the device has no memory left: try a smaller --chunk, or --device cpu") from error
