"""Arrange the channels of a recording as a model's batch, and back.

A single-channel model processes each channel by itself, or their mono mix (`streaming.shared_masks`). A
stereo model processes pairs of channels; an odd last one is doubled. A model of a microphone array takes all
channels and returns one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def fold(waveform: NDArray[np.float32], together: int | None) -> NDArray[np.float32]:
    """(channels, time) -> (batch, together, time).

    Args:
        together: channels the model consumes together; None means all of them.
    """
    if together is None:
        return waveform[None]
    missing = -len(waveform) % together
    if missing:
        waveform = np.concatenate((waveform, np.repeat(waveform[-1:], missing, axis=0)))
    return waveform.reshape(len(waveform) // together, together, waveform.shape[-1])


def unfold(output: NDArray[np.float32], stems: int, channels: int) -> NDArray[np.float32]:
    """(batch, stems * together, time) -> (stems, channels, time), without the doubled channel."""
    batch, rows, time = output.shape
    separate = output.reshape(batch, stems, rows // stems, time).swapaxes(0, 1)
    return separate.reshape(stems, batch * (rows // stems), time)[:, :channels]
