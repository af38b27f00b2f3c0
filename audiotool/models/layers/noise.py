"""Noise that depends only on a seed and a position, so that streamed and whole-file noise are equal.

Every value is a hash of (seed, channel, position). Any section of the noise can be computed at any time, on
any device, and neighbouring sections join without a seam.

    uniform(seed, 1, 0, 6)     a b c d e f
    uniform(seed, 1, 2, 3)         c d e

The hash is the finaliser of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators,
OOPSLA 2014) in 64-bit integers that wrap; normal values come from pairs of uniform ones (Box and Muller
1958). All rows of a batch have the same noise, so that a recording's output does not depend on the others.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def _signed(value: int) -> int:
    """Return the 64-bit pattern of `value` as a signed integer, as torch takes it."""
    value %= 1 << 64
    return value - (1 << 64) if value >= 1 << 63 else value


_STEP = 0x9E3779B97F4A7C15
_FIRST, _SECOND = _signed(0xBF58476D1CE4E5B9), _signed(0x94D049BB133111EB)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Shift right logically; torch's shift is arithmetic."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mixed(x: Tensor) -> Tensor:
    x = (x ^ _shifted(x, 30)) * _FIRST
    x = (x ^ _shifted(x, 27)) * _SECOND
    return x ^ _shifted(x, 31)


def uniform(
    seed: int,
    channels: int,
    start: int | Tensor,
    length: int,
    device: torch.device | str | None = None,
    period: int | None = None,
) -> Tensor:
    """Return uniform noise in the open interval (0, 1).

    Args:
        seed: any integer.
        channels: number of independent sequences.
        start: position of the first value in its sequence, >= 0; or (B, 1) of them.
        length: number of values of a sequence.
        period: positions after which the noise repeats; None: it does not.
    Returns:
        (1, channels, length) float32, or (B, channels, length).
    """
    channel = torch.arange(channels, dtype=torch.int64, device=device)
    position = torch.arange(length, dtype=torch.int64, device=device)[None] + start
    if period is not None:
        position = position % period
    sequence = _mixed(_mixed(torch.full_like(channel, _signed(seed * _STEP))) + channel * _signed(_STEP))
    hashed = _mixed(sequence[:, None] + (position[:, None] + 1) * _signed(_STEP))
    # 23 bits and a half step: float32 holds these exactly, and neither 0 nor 1 occurs.
    return (_shifted(hashed, 41).to(torch.float32) + 0.5) * 2.0**-23


def normal(
    seed: int, channels: int, start: int | Tensor, length: int, device: torch.device | str | None = None
) -> Tensor:
    """Return standard normal noise, float32; arguments and shapes as for `uniform`."""
    radius, angle = uniform(seed, 2 * channels, start, length, device).chunk(2, dim=1)
    return (-2.0 * radius.log()).sqrt() * torch.cos(2.0 * math.pi * angle)
