"""A bidirectional LSTM for streams, whose backward direction has a bounded look-ahead."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from audiotool.models.base import State


class BlockwiseBiLSTM(nn.Module):
    """LSTMs in both directions over (B, D, T); the backward one starts from zeros for every block.

        block 2, lookahead 3     0 1 2 3 4 5 6 ...
        backward pass for 0 1    <-------
        backward pass for 2 3        <-------

    Args:
        block: frames that share one backward pass.
        lookahead: frames after the block from which that pass begins.

    State: (forward LSTM's state, frames without output yet).
    """

    def __init__(self, in_channels: int, out_channels: int, block: int, lookahead: int) -> None:
        super().__init__()
        self.ahead = nn.LSTM(in_channels, out_channels // 2, batch_first=True)
        self.back = nn.LSTM(in_channels, out_channels // 2, batch_first=True)
        self.block = block
        self.lookahead = block - 1 + lookahead
        self.window = block + lookahead

    def whole(self, x: Tensor) -> Tensor:
        """Run as published: one pass in each direction over the whole utterance."""
        x = x.transpose(1, 2)
        return torch.cat((self.ahead(x)[0], self.back(x.flip(1))[0].flip(1)), dim=-1).transpose(1, 2)

    def forward(self, x: Tensor, state: State = None, final: bool = False) -> tuple[Tensor, State]:
        memory, waiting = (None, x.transpose(1, 2)) if state is None else state
        if state is not None:
            waiting = torch.cat((waiting, x.transpose(1, 2)), dim=1)
        outputs = []
        while waiting.shape[1] >= self.window or (final and waiting.shape[1]):
            ahead, memory = self.ahead(waiting[:, : self.block], memory)
            back = self.back(waiting[:, : self.window].flip(1))[0].flip(1)[:, : self.block]
            outputs.append(torch.cat((ahead, back), dim=-1))
            waiting = waiting[:, self.block :]
        if not outputs:
            return x.new_zeros(x.shape[0], 2 * self.ahead.hidden_size, 0), (memory, waiting)
        return torch.cat(outputs, dim=1).transpose(1, 2), (memory, waiting.clone())
