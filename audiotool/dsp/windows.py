"""Analysis windows, periodic, centred in the frame."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def make_window(name: str, n_fft: int, win_length: int | None = None) -> Tensor:
    """Return a periodic window of `win_length` samples, zero-padded on both sides to (n_fft,).

    Args:
        name: "hann", "sqrt_hann" (analysis and synthesis multiply to a Hann), "vorbis"
            (sin(pi/2 sin^2), power-complementary) or "ones".
    Raises:
        ValueError: unknown name, or win_length beyond n_fft.
    """
    length = n_fft if win_length is None else win_length
    if length > n_fft:
        raise ValueError(f"win_length {length} must not exceed n_fft {n_fft}")
    if name == "hann":
        taps = torch.hann_window(length)
    elif name == "sqrt_hann":
        taps = torch.hann_window(length).sqrt()
    elif name == "vorbis":
        ramp = torch.sin(math.pi * (torch.arange(length) + 0.5) / length)
        taps = torch.sin(math.pi / 2 * ramp.square())
    elif name == "ones":
        taps = torch.ones(length)
    else:
        raise ValueError(f"unknown window '{name}': hann, sqrt_hann, vorbis or ones")
    left = (n_fft - length) // 2
    return F.pad(taps, (left, n_fft - length - left))
