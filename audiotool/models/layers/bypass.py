"""The residual connection around a streaming network: the input is delayed by the network's latency."""

from __future__ import annotations

import torch
from torch import Tensor

from audiotool.models.base import State


def add_input(y: Tensor, x: Tensor, waiting: State, final: bool) -> tuple[Tensor, State]:
    """Add the input to the output (B, C, T') of a network.

    Args:
        y: output of the network in this step; with `final` it may be longer than the input.
        x: (B, C, T), this step's input.
        waiting: input of earlier steps whose output is still to come; None without any.
    Returns:
        (B, C, T') and the waiting input.
    """
    inputs = x if waiting is None else torch.cat((waiting, x), dim=-1)
    if final:
        y = y[..., : inputs.shape[-1]]
    return y + inputs[..., : y.shape[-1]], inputs[..., y.shape[-1] :].clone()
