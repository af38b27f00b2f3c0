"""The device that is asked for, and what is said when it is not there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audiotool.errors import DeviceError

if TYPE_CHECKING:
    import torch

KINDS = ("cpu", "cuda", "mps")


def find_device(name: str) -> torch.device:
    """A torch device from "auto", "cpu", "cuda", "cuda:1" or "mps".

    "auto" is CUDA where there is one, else the CPU: Apple's GPU is taken by name only, as no model has been
    run on it yet.

    Raises:
        DeviceError: it is unknown or not present.
    """
    import torch

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
