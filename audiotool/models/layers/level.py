"""A running estimate of level, for models that were published with the whole utterance's."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiotool.models.base import State


class RunningLevel(nn.Module):
    """Follow the root mean square of a stream, one value for each block of `hop_length` samples.

    A first-order recursion over block powers p_n with the bias of its start removed:
    e_n = a e_{n-1} + (1 - a) p_n,  w_n = a w_{n-1} + (1 - a),  level_n = sqrt(e_n / w_n).
    Block n's level covers block n itself: using it costs the look-ahead of one block.

    Args:
        hop_length: samples in a block.
        time_constant: blocks after which a block's weight has fallen to 1/e.

    State: (B, 2) the recursion's e and w.
    """

    def __init__(self, hop_length: int, time_constant: float) -> None:
        super().__init__()
        self.hop_length = hop_length
        self.decay = float(torch.exp(torch.tensor(-1.0 / time_constant)))

    def forward(self, x: Tensor, state: State = None, final: bool = False) -> tuple[Tensor, State]:
        """(B, 1, n * hop_length) -> (B, 1, n) levels. The caller blocks the stream."""
        power = x.reshape(x.shape[0], -1, self.hop_length).square().mean(-1)
        if state is None:
            state = x.new_zeros(x.shape[0], 2)
        blocks = power.shape[1]
        if blocks == 0:
            return power[:, None], state
        both = torch.stack((power, torch.ones_like(power)), dim=1) * (1 - self.decay)
        followed = _recursion(both, state, self.decay)
        level = (followed[:, 0] / followed[:, 1]).sqrt()
        return level[:, None], followed[..., -1].clone()


def _recursion(x: Tensor, initial: Tensor, decay: float) -> Tensor:
    """y_n = decay * y_{n-1} + x_n over the last axis, in blocks of matrix products instead of a loop."""
    size = 256
    index = torch.arange(size, device=x.device)
    exponent = index[:, None] - index
    kernel = torch.where(exponent >= 0, decay ** exponent.clamp(min=0).to(x.dtype), 0.0)
    carry = decay ** (index + 1).to(x.dtype)
    parts = []
    for part in x.split(size, dim=-1):
        n = part.shape[-1]
        y = F.linear(part, kernel[:n, :n]) + initial[..., None] * carry[:n]
        initial = y[..., -1]
        parts.append(y)
    return torch.cat(parts, dim=-1)
