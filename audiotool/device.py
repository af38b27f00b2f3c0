"""Find a torch device by its name."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from audiotool.errors import DeviceError
from audiotool.value_types import quote

if TYPE_CHECKING:
    import torch

KINDS = ("cpu", "cuda", "mps")


def name_of(device: str | torch.device) -> str:
    """Return the name of a device, which a caller may give as torch's, too.

    Raises:
        DeviceError: it is neither.
    """
    # A caller who has a torch.device has imported torch; it is not imported for names.
    torch = sys.modules.get("torch")
    if isinstance(device, str):
        return device
    if torch is None or not isinstance(device, torch.device):
        known = "auto, cpu, cuda, cuda:N or mps, or a torch.device"
        raise DeviceError(f"a device is {known}, got {quote(device)}")
    return str(device)


def find_device(device: str | torch.device) -> torch.device:
    """Return the torch device for "auto", "cpu", "cuda", "cuda:1" or "mps", or check one of torch's.

    "auto" is CUDA if it is available, else the CPU. Apple's GPU is only used by name, because no model has
    been tested on it.

    Raises:
        DeviceError: as `name_of`, the name is unknown, or the device does not exist.
    """
    import torch

    name = name_of(device)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    advice = f"there is no device '{name}' here: try --device cpu (or auto, cuda, cuda:N, mps)"
    try:
        found = torch.device(name)
        torch.empty(1, device=found)
    except (RuntimeError, AssertionError) as error:
        raise DeviceError(advice) from error
    if found.type not in KINDS or (found.type == "cpu" and found.index is not None):
        raise DeviceError(advice)
    return found
