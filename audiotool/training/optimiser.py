"""The optimiser of a recipe, and its steps."""

from __future__ import annotations

import math

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

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


def clip_and_step(
    fabric: Fabric, module: nn.Module, optimiser: torch.optim.Optimizer, clip: float | None
) -> Tensor:
    """Update the weights, unless their gradient is not finite, and clear it; return the norm that it had.

    Args:
        clip: largest norm, to which the gradient is scaled; None does not scale it.
    """
    norm = fabric.clip_gradients(module, optimiser, max_norm=clip or math.inf, error_if_nonfinite=False)
    assert norm is not None
    # The scaler of fp16 skips such a step itself and lowers its scale.
    if norm.isfinite() or fabric.strategy.precision.precision == "16-mixed":
        optimiser.step()
    optimiser.zero_grad()
    return norm
