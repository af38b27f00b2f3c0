"""Channels of a recording into a model's batch, and back.

A single-channel model sees each channel as a recording of its own; a stereo model sees channels in pairs, a
last odd one doubled; a microphone array's model sees all of them and returns one.
"""

from __future__ import annotations

import torch
from torch import Tensor


def fold(waveform: Tensor, together: int | None) -> Tensor:
    """(channels, time) -> (batch, together, time).

    Args:
        together: channels the model consumes together; None means all of them.
    """
    if together is None:
        return waveform[None]
    missing = -waveform.shape[0] % together
    if missing:
        waveform = torch.cat((waveform, waveform[-1:].expand(missing, -1)))
    return waveform.unflatten(0, (-1, together))


def unfold(output: Tensor, stems: int, channels: int) -> Tensor:
    """(batch, stems * together, time) -> (stems, channels, time), without the doubled channel."""
    separate = output.unflatten(1, (stems, -1)).transpose(0, 1)
    return separate.flatten(1, 2)[:, :channels]
