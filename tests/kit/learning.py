"""Training of a model on one batch, for tests that it learns."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from audiotool.models.base import Model

Batch = dict[str, Tensor]


def l1(outputs: Batch, batch: Batch) -> Tensor:
    """Mean absolute error of the estimate."""
    return (outputs["estimate"] - batch["target"]).abs().mean()


def mse(outputs: Batch, batch: Batch) -> Tensor:
    """Mean squared error of the estimate."""
    return (outputs["estimate"] - batch["target"]).square().mean()


def learn(
    model: Model,
    batch: Batch,
    loss: Callable[[Batch, Batch], Tensor],
    optimiser: torch.optim.Optimizer,
    steps: int,
    seed: int | None = None,
    has_idle_weights: bool = False,
) -> list[float]:
    """Train on a batch and return the loss before each step; every parameter has a finite gradient in each.

    Args:
        seed: of every step, for models that draw noise; None lets the noise differ.
        has_idle_weights: whether the published network has parameters that no output depends on.
    """
    values = []
    for _ in range(steps):
        if seed is not None:
            torch.manual_seed(seed)
        value = loss(model.training_outputs(batch), batch)
        optimiser.zero_grad()
        value.backward()
        assert all(
            has_idle_weights if p.grad is None else p.grad.isfinite().all() for p in model.parameters()
        )
        optimiser.step()
        values.append(value.item())
    return values
