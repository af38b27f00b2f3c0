"""Optimisers by the recipe's section."""

from __future__ import annotations

import torch
from torch import nn

from audiotool.recipe.schema import AdamSection, AdamWSection, MuonSection, RAdamSection
from audiotool.training.muon import Muon


def build_optimiser(section: AdamSection, module: nn.Module, fused: bool = False) -> torch.optim.Optimizer:
    """Make the optimiser of `section` for the parameters of a module that are trained.

    Args:
        fused: one kernel for all parameters, where the optimiser and the device have it.
    """
    options = section.model_dump(exclude={"name"})
    if isinstance(section, MuonSection):
        return Muon(module, fused, **options)
    trained = [p for p in module.parameters() if p.requires_grad]
    if isinstance(section, RAdamSection):
        return torch.optim.RAdam(trained, **options)
    kind = torch.optim.AdamW if isinstance(section, AdamWSection) else torch.optim.Adam
    return kind(trained, fused=fused, **options)


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Give every group of parameters the same learning rate."""
    for group in optimiser.param_groups:
        group["lr"] = rate
