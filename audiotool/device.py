"""Find a torch device by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audiotool.errors import DeviceError

if TYPE_CHECKING:
    import torch

KINDS = ("cpu", "cuda", "mps")


def find_device(name: str) -> torch.device:
    """Return the torch device for "auto", "cpu", "cuda", "cuda:1" or "mps".

    "auto" is CUDA if it is available, else the CPU. Apple's GPU is only used by name, because no model has
    been tested on it.

    Raises:
        DeviceError: the name is unknown, or the device does not exist.
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
