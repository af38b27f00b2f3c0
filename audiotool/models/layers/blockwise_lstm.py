"""A bidirectional LSTM for streams, whose backward direction has a bounded look-ahead."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from audiotool.models.base import State

CLOSED = -1e4
"""Added to the input and the forget gate of an LSTM: their sigmoid is 0, and so is the next state."""


class BlockwiseBiLSTM(nn.Module):
    """LSTMs in both directions over (B, D, T); the backward one starts from zeros for every block.

        block 2, lookahead 3     0 1 2 3 4 5 6 ...
        backward pass for 0 1    <-------
        backward pass for 2 3        <-------

    Args:
        block: frames that share one backward pass.
        lookahead: frames after the block from which that pass begins.

    Attributes:
        lookahead: frames after its own that a frame may depend on.
        wait: frames that have no output yet when whole blocks have come, whole blocks too.

    State: (forward LSTM's state, frames without output yet).
    """

    def __init__(self, in_channels: int, out_channels: int, block: int, lookahead: int) -> None:
        super().__init__()
        self.ahead = nn.LSTM(in_channels, out_channels // 2, batch_first=True)
        self.back = nn.LSTM(in_channels, out_channels // 2, batch_first=True)
        self.block = block
        self.lookahead = block - 1 + lookahead
        self.window = block + lookahead
        self.wait = -(-lookahead // block) * block

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

    def graph_start(self, batch: int) -> dict[str, Any]:
        """Return the state of `exported` at the beginning of a stream."""
        zeros, size = self.ahead.all_weights[0][0].new_zeros, self.ahead.hidden_size
        return {
            "memory": (zeros(batch, 1, size), zeros(batch, 1, size)),
            "ahead": zeros(batch, size, self.wait),
            "waiting": zeros(batch, self.ahead.input_size + 1, self.wait),
        }

    def exported(self, x: Tensor, inside: Tensor, state: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        """Whole blocks of frames (B, D, T) -> the output of the frames `wait` before (B, out, T), the state.

        Args:
            inside: (B, 1, T) 1 for frames of the stream, 0 for those after its end.
            state: from `graph_start` or the call before.
        """
        from audiotool.models.layers.graph_operators import lstm

        memory = [part.transpose(0, 1).contiguous() for part in state["memory"]]
        y, *memory = lstm(x.permute(2, 0, 1), *memory, *self.ahead.all_weights[0])
        ahead = torch.cat((state["ahead"], y.permute(1, 2, 0)), dim=-1)
        waiting = torch.cat((state["waiting"], torch.cat((x, 1 - inside), dim=1)), dim=-1)
        count, more = x.shape[-1] // self.block, self.wait // self.block
        frames = waiting.transpose(1, 2).unflatten(1, (count + more, self.block))
        windows = torch.cat([frames[:, n : n + count] for n in range(more + 1)], dim=2)[:, :, : self.window]
        back = self._backward(windows.flatten(0, 1))[:, : self.block]
        back = back.unflatten(0, (x.shape[0], count)).flatten(1, 2).transpose(1, 2)
        output = torch.cat((ahead[..., : ahead.shape[-1] - self.wait], back), dim=1)
        return output, {
            "memory": tuple(part.transpose(0, 1) for part in memory),
            "ahead": ahead[..., ahead.shape[-1] - self.wait :].clone(),
            "waiting": waiting[..., waiting.shape[-1] - self.wait :].clone(),
        }

    def _backward(self, x: Tensor) -> Tensor:
        """Run the backward LSTM over (N, window, D + 1); the last feature is 1 where its state is to be 0."""
        from audiotool.models.layers.graph_operators import lstm

        size, (weight, *others) = self.back.hidden_size, self.back.all_weights[0]
        gates = torch.cat((weight.new_full((2 * size, 1), CLOSED), weight.new_zeros(2 * size, 1)))
        nothing = x.new_zeros(1, x.shape[0], size)
        rows = x.flip(1).transpose(0, 1)
        y, _, _ = lstm(rows, nothing, nothing.clone(), torch.cat((weight, gates), dim=1), *others)
        return y.transpose(0, 1).flip(1)
