"""Streaming convolutions over time, whose state is the input that the next frame needs.

Each is the torch layer of the same name (same parameters, same state-dict keys) called as
`y, state = layer(x, state, final)`. If a chunk is too short for a frame, the output has length zero, which
all layers here accept.

    kernel 4, stride 2       0 1 2 3 4 5 6 | 7 8 ...
    frame 0                  [-----]
    frame 1                      [-----]
    carried to next chunk            4 5 6          (frame 2 needs 4..7)
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class StreamingConv1d(nn.Conv1d):
    """Conv1d over (B, C, T) without look-ahead.

    Args:
        left_padding: zeros put before the stream; (kernel_size - 1) * dilation makes the layer causal with
            as many outputs as inputs, 0 (default) is the plain unpadded convolution.

    State: (B, C, carried) the input from the next frame's first sample on.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
        left_padding: int = 0,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride=stride, dilation=dilation, groups=groups, bias=bias
        )
        self.span = (kernel_size - 1) * dilation + 1
        if stride > self.span:
            raise ValueError(f"stride {stride} skips input: it must not exceed the kernel's span {self.span}")
        self.left_padding = left_padding

    def forward(  # type: ignore[override]
        self, x: Tensor, state: Tensor | None = None, final: bool = False
    ) -> tuple[Tensor, Tensor]:
        """(B, C, T) -> (B, out, complete frames)."""
        if state is None and self.left_padding:
            state = x.new_zeros(*x.shape[:-1], self.left_padding)
        if state is not None and state.shape[-1]:
            x = torch.cat((state, x), dim=-1)
        frames = (x.shape[-1] - self.span) // self.stride[0] + 1
        if frames <= 0:
            return x.new_zeros(x.shape[0], self.out_channels, 0), x
        consumed = frames * self.stride[0]
        return self._conv_forward(x, self.weight, self.bias), x[..., consumed:].clone()


class StreamingConvTranspose1d(nn.ConvTranspose1d):
    """ConvTranspose1d over (B, C, frames) that delays the samples to which later frames still add.

    State: (B, out, kernel_size - stride) partial sums without bias. `final` emits them.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, bias: bool = True
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride=stride, bias=bias)
        if stride > kernel_size:
            raise ValueError(f"stride {stride} leaves gaps: it must not exceed the kernel size {kernel_size}")
        self.overlap = kernel_size - stride

    def forward(  # type: ignore[override]
        self, x: Tensor, state: Tensor | None = None, final: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """(B, C, frames) -> (B, out, frames * stride), plus the overlap when final."""
        if x.shape[-1] == 0:
            if not final or state is None:
                return x.new_zeros(x.shape[0], self.out_channels, 0), state
            return self._with_bias(state), None
        y = F.conv_transpose1d(x, self.weight, None, self.stride)
        if state is not None and self.overlap:
            # The sum is out of place, because autograd may still need y.
            y = torch.cat((y[..., : self.overlap] + state, y[..., self.overlap :]), dim=-1)
        if final or not self.overlap:
            return self._with_bias(y), None
        return self._with_bias(y[..., : -self.overlap]), y[..., -self.overlap :].clone()

    def _with_bias(self, y: Tensor) -> Tensor:
        return y if self.bias is None else y + self.bias[:, None]


class StreamingConv2d(nn.Conv2d):
    """Conv2d over (B, C, F, T), causal in time, zero-padded in frequency.

    Args:
        kernel_size: (frequency, time).
        dilation: (frequency, time).
        frequency_padding: zeros on both sides of the frequency axis.

    State: (B, C, F, (kernel_t - 1) * dilation_t) past frames, zeros at the beginning.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: tuple[int, int],
        dilation: tuple[int, int] = (1, 1),
        groups: int = 1,
        frequency_padding: int = 0,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            padding=(frequency_padding, 0),
            dilation=dilation,
            groups=groups,
        )
        self.frequency_padding = frequency_padding
        self.history = (kernel_size[1] - 1) * dilation[1]

    def forward(  # type: ignore[override]
        self, x: Tensor, state: Tensor | None = None, final: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """(B, C, F, T) -> (B, out, F', T)."""
        if self.history:
            if state is None:
                state = x.new_zeros(*x.shape[:-1], self.history)
            x = torch.cat((state, x), dim=-1)
            state = x[..., x.shape[-1] - self.history :].clone()
        if x.shape[-1] == self.history:
            padded = x.shape[2] + 2 * self.frequency_padding
            bins = padded - self.dilation[0] * (self.kernel_size[0] - 1)
            return x.new_zeros(x.shape[0], self.out_channels, bins, 0), state
        return self._conv_forward(x, self.weight, self.bias), state


def pointwise(conv: nn.Conv1d, x: Tensor) -> Tensor:
    """Apply a convolution of kernel size 1 to (B, C, T), T = 0 included.

    A batched matrix product: on one CPU core, forward and backward together were measured at 0.4 of the
    convolution's time with 48 channels, and equal with 192 and more.
    """
    bias = x.new_zeros(1, 1, 1) if conv.bias is None else conv.bias[None, :, None]
    return torch.baddbmm(bias, conv.weight[..., 0].expand(x.shape[0], -1, -1), x)
