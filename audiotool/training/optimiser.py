"""Build the optimiser of a recipe."""

from __future__ import annotations

import torch
from torch import nn

from audiotool.recipe.schema import AdamSection, AdamWSection, MuonSection, RAdamSection
from audiotool.training.muon import Muon


def build_optimiser(section: AdamSection, module: nn.Module, fused: bool = False) -> torch.optim.Optimizer:
    """Build the optimiser of the recipe's `section` for the parameters of a module that have gradients.

    Args:
        fused: use one kernel for all parameters, if the optimiser and the device have one.
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
