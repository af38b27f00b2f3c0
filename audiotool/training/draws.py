"""Random numbers of a training step: they depend on (seed, step, process) alone, so that a resumed run
repeats them. Those of a validation depend on (seed, recording)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed torch's generators for one step of one process; the numbers of different steps are unrelated."""
    torch.manual_seed(_mix(seed, step, rank))


@contextlib.contextmanager
def seeded(seed: int, index: int, device: torch.device) -> Iterator[None]:
    """Draw random numbers that depend on (seed, index) alone; those drawn afterwards do not notice."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(_mix(seed, index, 0))
        yield


def happens(probability: float) -> bool:
    """Return True with this probability, 0 to 1; at 0 no random number is drawn."""
    return probability > 0 and float(torch.rand(())) < probability


def _mix(seed: int, step: int, rank: int) -> int:
    """Hash three integers to one 63-bit integer."""
    mixed = (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + rank * 0x94D049BB133111EB) % 2**64
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    return (mixed ^ (mixed >> 31)) % 2**63
