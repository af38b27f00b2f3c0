"""The optimiser Muon: momentum that is orthogonalised for matrices; AdamW for all other parameters.

Jordan et al., Muon: An optimizer for hidden layers in neural networks, 2024; scaled to the size of an Adam
step as in Liu et al., Muon is Scalable for LLM Training, 2025, arXiv:2502.16982, section 2.2, so that one
learning rate serves both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter

MOMENTUM = 0.95
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic polynomial that moves singular values towards 1 (Jordan et al.)."""

ITERATIONS = 5

_CONVOLUTIONS = (
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
)


class Muon(torch.optim.AdamW):
    """Muon for the matrices of a module, AdamW for its vectors and convolutions.

    A matrix is the last two axes of a parameter, both above 1; axes before them count matrices. The gates of
    a recurrent layer are stacked along the first axis, and each is a matrix.

    Args:
        module: its parameters with gradients are optimised.
        lr, betas, eps, weight_decay: as of AdamW; betas and eps are not used for matrices.
        fused: use one kernel for all of AdamW's parameters.
    """

    def __init__(self, module: nn.Module, fused: bool = False, **options: Any) -> None:
        self.module = module
        self.counts = _matrices(module)
        super().__init__(self._groups(), fused=fused, **options)

    def _groups(self) -> list[dict[str, Any]]:
        trained = [p for p in self.module.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trained if p not in self.counts], "matrices": False},
            {"params": [p for p in trained if p in self.counts], "matrices": True},
        ]
        return [g for g in groups if g["params"]]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state; a run of 0.2.0, which took more parameters for matrices, goes on as it began."""
        saved = [len(group["params"]) for group in state_dict["param_groups"]]
        if saved != [len(group["params"]) for group in self.param_groups]:
            self.counts = _former_matrices(self.module)
            self.param_groups = [self.param_groups[0] | group for group in self._groups()]
        super().load_state_dict(state_dict)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have a gradient."""
        moved = []
        for group in self.param_groups:
            if not group["matrices"]:
                continue
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, group["lr"], group["weight_decay"])
                    # Adam skips parameters without a gradient.
                    moved.append((parameter, parameter.grad))
                    parameter.grad = None
        result = super().step(closure)
        for parameter, gradient in moved:
            parameter.grad = gradient
        return result

    def _move(self, parameter: Parameter, rate: float, weight_decay: float) -> None:
        assert parameter.grad is not None
        state = self.state[parameter]
        if not state:
            # AdamW's names, as it looks at every parameter's state when one is loaded.
            state |= {"step": torch.zeros(()), "exp_avg": torch.zeros_like(parameter)}
        state["step"] += 1
        momentum = state["exp_avg"].lerp_(parameter.grad, 1 - MOMENTUM)
        # Nesterov momentum: the momentum after the next update.
        ahead = parameter.grad.lerp(momentum, MOMENTUM)
        matrices = ahead.unflatten(0, (self.counts[parameter], -1))
        step = orthogonal(matrices) * (0.2 * max(matrices.shape[-2:]) ** 0.5)
        parameter.mul_(1 - rate * weight_decay).sub_(step.reshape_as(parameter), alpha=rate)


def _matrices(module: nn.Module) -> dict[Parameter, int]:
    """Return the parameters that consist of matrices, and how many matrices their first axis stacks."""
    # Those of a normalised weight belong to a module inside the convolution.
    of_convolutions = {p for m in module.modules() if isinstance(m, _CONVOLUTIONS) for p in m.parameters()}
    return {
        p: stacked
        for p, stacked in _former_matrices(module).items()
        if p not in of_convolutions and p.shape[-1] > 1 and p.shape[-2] > stacked
    }


def _former_matrices(module: nn.Module) -> dict[Parameter, int]:
    """Return what 0.2.0 took for matrices: vectors of several axes and parts of normalised weights, too."""
    counts: dict[Parameter, int] = {}
    for part in module.modules():
        if isinstance(part, _CONVOLUTIONS):
            continue
        stacked = {"GRU": 3, "LSTM": 4}.get(part.mode, 1) if isinstance(part, nn.RNNBase) else 1
        counts |= {p: stacked for p in part.parameters(recurse=False) if p.dim() >= 2}
    return counts


def orthogonal(matrices: Tensor) -> Tensor:
    """Return an approximation of the nearest orthogonal matrix of each (..., rows, columns), with singular
    values of 0.7 to 1.2."""
    a, b, c = COEFFICIENTS
    wide = matrices.shape[-2] <= matrices.shape[-1]
    x = matrices if wide else matrices.mT
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if wide else x.mT
