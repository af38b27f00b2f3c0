"""Recurrent layers called as every other: `y, state = layer(x, state, final)` over (B, C, T)."""

from __future__ import annotations

from torch import Tensor, nn

from audiotool.models.base import State


class StreamingGRU(nn.GRU):
    """One-directional GRU over (B, C, T) -> (B, hidden, T). State: torch's hidden tensor, batch first."""

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1) -> None:
        super().__init__(input_size, hidden_size, num_layers, batch_first=True)

    def forward(  # type: ignore[override]
        self, x: Tensor, state: State = None, final: bool = False
    ) -> tuple[Tensor, State]:
        if x.shape[-1] == 0:
            return x.new_zeros(x.shape[0], self.hidden_size, 0), state
        hidden = None if state is None else state.transpose(0, 1).contiguous()
        y, hidden = nn.GRU.forward(self, x.transpose(1, 2), hidden)
        return y.transpose(1, 2), hidden.transpose(0, 1)


class StreamingLSTM(nn.LSTM):
    """One-directional LSTM over (B, C, T) -> (B, hidden, T). State: (hidden, cell), batch first."""

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1) -> None:
        super().__init__(input_size, hidden_size, num_layers, batch_first=True)

    def forward(  # type: ignore[override]
        self, x: Tensor, state: State = None, final: bool = False
    ) -> tuple[Tensor, State]:
        if x.shape[-1] == 0:
            return x.new_zeros(x.shape[0], self.hidden_size, 0), state
        pair = None if state is None else tuple(s.transpose(0, 1).contiguous() for s in state)
        y, (hidden, cell) = nn.LSTM.forward(self, x.transpose(1, 2), pair)
        return y.transpose(1, 2), (hidden.transpose(0, 1), cell.transpose(0, 1))
