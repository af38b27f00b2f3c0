"""What is drawn in a training step: from (seed, step, process) alone, so that a resumed run repeats it."""

from __future__ import annotations

import torch


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed torch's generators for one step of one process; neighbouring steps draw nothing alike."""
    torch.manual_seed(_mix(seed, step, rank))


def happens(probability: float) -> bool:
    """Whether something of this probability (0 to 1) happens; nothing is drawn for what never does."""
    return probability > 0 and float(torch.rand(())) < probability


def _mix(seed: int, step: int, rank: int) -> int:
    """One 63-bit number from three."""
    mixed = (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + rank * 0x94D049BB133111EB) % 2**64
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    return (mixed ^ (mixed >> 31)) % 2**63
