"""Devices, precision and processes, through Lightning Fabric."""

from __future__ import annotations

import os
import time
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import MixedPrecision

from audiotool.device import find_device
from audiotool.errors import DeviceError

SETTLE_SECONDS = 0.2
"""Seconds in which the threads of a connection have to finish; they need microseconds."""


class KeptInput(MixedPrecision):
    """Mixed precision that does not convert the model's input, because a waveform needs float32."""

    def convert_input(self, data: Any) -> Any:
        return data


def make_fabric(device: str, precision: str) -> Fabric:
    """Set up Lightning Fabric with the processes that torchrun has started, or with this one alone.

    Args:
        device: as `find_device`.
        precision: "fp32", "bf16" or "fp16".
    Raises:
        DeviceError: the device does not exist, or does not support the precision.
    """
    found = find_device(device)
    kind = found.type
    if precision == "fp16" and kind == "cpu":
        raise DeviceError("train.precision: the CPU does not train in fp16: take bf16 or fp32")
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    local_size = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    mixed = {"bf16": "bf16-mixed", "fp16": "16-mixed"}.get(precision)
    fabric = Fabric(
        accelerator=kind,
        devices=local_size if found.index is None else [found.index],
        num_nodes=world_size // local_size,
        strategy="ddp" if world_size > 1 else "auto",
        plugins=[KeptInput(mixed, kind)] if mixed else [],  # type: ignore[arg-type]
    )
    fabric.launch()
    return fabric


def leave(fabric: Fabric) -> None:
    """Close the connection to the other processes when all are done.

    The threads of the connection (gloo) free the last tensors late, for which they need the interpreter. They
    abort a process whose interpreter has ended before that. Joining them may hang, so this waits a moment.
    """
    if fabric.world_size > 1:
        fabric.barrier()
        torch.distributed.destroy_process_group()
        time.sleep(SETTLE_SECONDS)
