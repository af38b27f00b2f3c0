"""A centred convolution over frames, as a stream."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from audiotool.models.layers.conv import StreamingConv1d


class ZeroPaddedConv1d(StreamingConv1d):
    """Centred convolution with tanh; frames beyond both ends of the stream are zeros."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size, left_padding=(kernel_size - 1) // 2)
        self.lookahead = kernel_size - 1 - self.left_padding

    def forward(  # type: ignore[override]
        self, x: Tensor, state: Tensor | None = None, final: bool = False
    ) -> tuple[Tensor, Tensor]:
        if final:
            x = F.pad(x, (0, self.lookahead))
        y, state = super().forward(x, state)
        return torch.tanh(y), state
