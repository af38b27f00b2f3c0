"""Deep filtering: a complex filter over the last frames, predicted for every bin and frame.

Mack and Habets, Deep Filtering, IEEE Signal Processing Letters 2020, arXiv:1904.08369; Schröter et al.,
DeepFilterNet, ICASSP 2022, arXiv:2110.05588, equation 3, without look-ahead.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from audiotool.models.base import State


class DeepFilter(nn.Module):
    """Filter the lowest bins of a spec over time: y[f, t] = sum_i c_i[f, t] x[f, t - i].

    One tap is a complex mask. More taps can restore a bin that noise has cancelled in one frame.

    Args:
        taps: frames a filter spans, the current one included.

    The frame axis comes first; rows are frames, and within a frame its batch. State: (B, taps - 1, bins)
    the frames before this chunk; None where one tap needs none.
    """

    def __init__(self, taps: int) -> None:
        super().__init__()
        self.taps = taps

    def forward(
        self, spec: Tensor, coefficients: Tensor, state: State = None, final: bool = False
    ) -> tuple[Tensor, State]:
        """Complex (T, B, bins) and rows (T * B, S, taps, bins) -> rows (T * B, S, bins).

        Tap i looks i frames back.
        """
        if self.taps == 1:
            return coefficients.squeeze(2) * spec.flatten(0, 1).unsqueeze(1), None
        frames, last = spec.shape[0], self.taps - 1
        if state is None:
            state = spec.new_zeros(spec.shape[1], last, spec.shape[2])
        history = torch.cat((state.transpose(0, 1), spec))
        # Frame t of the chunk is t + last of the history.
        delayed = torch.cat([history[last - n : last - n + frames] for n in range(self.taps)], dim=-1)
        seen = delayed.view(-1, 1, self.taps, spec.shape[-1])
        y = (coefficients * seen).sum(2)
        return y, history[frames:].transpose(0, 1).clone()
