"""A running estimate of the level."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiotool.models.base import State
from audiotool.models.layers.running_mean import BLOCK, recursion


class RunningLevel(nn.Module):
    """Estimate the root mean square of a stream, one value for each block of `hop_length` samples.

    A first-order recursion over block powers p_n with the bias of its start removed:
    e_n = a e_{n-1} + (1 - a) p_n,  w_n = a w_{n-1} + (1 - a),  level_n = sqrt(e_n / w_n).
    The level of block n includes block n, so that using it needs a look-ahead of one block.

    Args:
        hop_length: samples in a block.
        time_constant: blocks after which a block's weight has fallen to 1/e.

    State: (B, 2) the recursion's e and w.
    """

    kernel: Tensor
    carry: Tensor

    def __init__(self, hop_length: int, time_constant: float) -> None:
        super().__init__()
        self.hop_length = hop_length
        self.decay = float(torch.exp(torch.tensor(-1.0 / time_constant, device="cpu")))
        index = torch.arange(BLOCK)
        exponent = index[:, None] - index
        weights = self.decay ** exponent.clamp(min=0).float()
        self.register_buffer("kernel", torch.where(exponent >= 0, weights, 0.0), persistent=False)
        self.register_buffer("carry", self.decay ** (index + 1).float(), persistent=False)

    def forward(self, x: Tensor, state: State = None, final: bool = False) -> tuple[Tensor, State]:
        """(B, 1, n * hop_length) -> (B, 1, n) levels. The caller passes whole blocks."""
        return self.of_powers(x.reshape(x.shape[0], -1, self.hop_length).square().mean(-1), state)

    def of_powers(self, power: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Compute levels (B, 1, n) of the mean powers (B, n) of blocks."""
        if state is None:
            state = power.new_zeros(power.shape[0], 2)
        if torch.compiler.is_exporting():
            return self._exported(power, state)
        blocks = power.shape[1]
        if blocks == 0:
            return power[:, None], state
        if blocks == 1:
            state = torch.lerp(state, F.pad(power, (0, 1), value=1.0), 1 - self.decay)
            return (state[..., :1] / state[..., 1:]).sqrt().unsqueeze(1), state
        both = torch.stack((power, torch.ones_like(power)), dim=1) * (1 - self.decay)
        followed, last = recursion(both, state, self.kernel, self.carry)
        level = (followed[:, 0] / followed[:, 1]).sqrt()
        return level[:, None], last.clone()

    def _exported(self, power: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the levels of any number of blocks in few operations, for graphs.

        e_n = a^n (e_0 + sum_k (1 - a) a^-k p_k), and w_n the same for p_k = 1. All terms are positive, so
        that no digits cancel.
        """
        decayed = self.decay ** torch.ones_like(power).cumsum(-1)
        energy, weight = state.split(1, dim=-1)
        share = (1 - self.decay) / decayed
        energy = ((power * share).cumsum(-1) + energy) * decayed
        weight = (share.cumsum(-1) + weight) * decayed
        level = (energy / weight).sqrt()
        return level[:, None], torch.cat((energy[:, -1:], weight[:, -1:]), dim=-1)
