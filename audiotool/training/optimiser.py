"""Optimisers by the recipe's section."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch.nn import Parameter

from audiotool.recipe.schema import AdamSection, AdamWSection, RAdamSection


def build_optimiser(
    section: AdamSection, parameters: Iterable[Parameter], fused: bool = False
) -> torch.optim.Optimizer:
    """Make the optimiser of `section` for the parameters that are trained.

    Args:
        fused: one kernel for all parameters, where the optimiser and the device have it.
    """
    trained = [p for p in parameters if p.requires_grad]
    options = section.model_dump(exclude={"name"})
    if isinstance(section, RAdamSection):
        return torch.optim.RAdam(trained, **options)
    kind = torch.optim.AdamW if isinstance(section, AdamWSection) else torch.optim.Adam
    return kind(trained, fused=fused, **options)


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Give every group of parameters the same learning rate."""
    for group in optimiser.param_groups:
        group["lr"] = rate
