"""An exponential moving average of a model's weights."""

from __future__ import annotations

import copy

import torch

from audiotool.compat import lerp_
from audiotool.models.base import Model


class WeightAverage:
    """A copy of a model with the moving average of its weights: average <- d average + (1 - d) weights after
    each step.

    d is the smaller of `decay` and (1 + n) / (10 + n) after n steps. With `decay` from the beginning, the
    random initial weights would dominate the average for about 1 / (1 - decay) steps.

    Args:
        model: the model that is trained, already on its device.
        decay: 0 to below 1; at 0 the average is the model itself.
    """

    def __init__(self, model: Model, decay: float) -> None:
        self.decay = decay
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        pairs = list(zip(self.model.state_dict().values(), model.state_dict().values(), strict=True))
        floating = [p for p in pairs if p[0].is_floating_point()]
        self._averaged, self._trained = [a for a, _ in floating], [t for _, t in floating]
        self._others = [p for p in pairs if not p[0].is_floating_point()]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Update the average with the weights after optimiser step `step`, counted from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        lerp_(self._averaged, self._trained, 1 - decay)
        for averaged, trained in self._others:
            averaged.copy_(trained)
