"""The input beside a network: it waits until the network's answer to it has come out, and is added."""

from __future__ import annotations

import torch
from torch import Tensor

from audiotool.models.base import State


def add_input(y: Tensor, x: Tensor, waiting: State, final: bool) -> tuple[Tensor, State]:
    """Add to a network's output (B, C, T') the input that it belongs to.

    Args:
        y: what the network gave for x, aligned with all input so far; after `final` it may be longer.
        x: (B, C, T), this step's input.
        waiting: input of earlier steps, None where there is none.
    Returns:
        (B, C, T') and what still waits.
    """
    inputs = x if waiting is None else torch.cat((waiting, x), dim=-1)
    if final:
        y = y[..., : inputs.shape[-1]]
    return y + inputs[..., : y.shape[-1]], inputs[..., y.shape[-1] :].clone()
