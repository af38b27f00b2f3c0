"""Deep filtering: a complex filter over the last frames, predicted anew for every bin and frame.

Mack and Habets, Deep Filtering, IEEE Signal Processing Letters 2020, arXiv:1904.08369; Schröter et al.,
DeepFilterNet, ICASSP 2022, arXiv:2110.05588, equation 3, without look-ahead.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from audiotool.models.base import State


class DeepFilter(nn.Module):
    """Filter the lowest bins of a spec over time: y[f, t] = sum_i c_i[f, t] x[f, t - i].

    One tap is a complex mask. More can restore what noise has cancelled in a single frame.

    Args:
        taps: frames a filter spans, the current one included.

    State: (B, bins, taps - 1) the frames before this chunk; None where one tap needs none.
    """

    def __init__(self, taps: int) -> None:
        super().__init__()
        self.taps = taps

    def forward(
        self, spec: Tensor, coefficients: Tensor, state: State = None, final: bool = False
    ) -> tuple[Tensor, State]:
        """Complex (B, bins, T) and (B, S, taps, bins, T) -> (B, S, bins, T); tap i looks i frames back."""
        if self.taps == 1:
            return coefficients.select(2, 0) * spec.unsqueeze(1), None
        if state is None:
            state = spec.new_zeros(*spec.shape[:-1], self.taps - 1)
        frames, last = spec.shape[-1], self.taps - 1
        # Specs and predictions lie in memory frame by frame: (T, B, bins) and, for each tap, (T, B, S, bins).
        history = torch.cat((state.movedim(-1, 0), spec.movedim(-1, 0)))
        taps = coefficients.movedim(-1, 0).unbind(3)
        y = taps[0] * history[last:].unsqueeze(2)
        for n in range(1, self.taps):
            y.addcmul_(taps[n], history[last - n : last - n + frames].unsqueeze(2))
        return y.movedim(0, -1), history[frames:].clone().movedim(0, -1)
