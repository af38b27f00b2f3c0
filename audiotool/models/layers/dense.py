"""The densely connected encoder and decoders that MP-SENet and MambAttention share, over (B, C, T, F)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class DenseBlock(nn.Module):
    """Four dilated convolutions, whose inputs are all earlier outputs, the newest first.

    Args:
        channels: channels of the input and of every convolution.
        causal: kernel (2, 3) padded before the first frame only; otherwise (3, 3) padded on both sides.
    """

    def __init__(self, channels: int, causal: bool) -> None:
        super().__init__()
        self.dense_block = nn.ModuleList()
        for n in range(4):
            dilation = 2**n
            inner = channels * (n + 1)
            if causal:
                before: list[nn.Module] = [nn.ZeroPad2d((1, 1, dilation, 0))]
                convolution = nn.Conv2d(inner, channels, (2, 3), dilation=(dilation, 1))
            else:
                before, padding = [], (dilation, 1)
                convolution = nn.Conv2d(inner, channels, (3, 3), dilation=(dilation, 1), padding=padding)
            self.dense_block.append(nn.Sequential(*before, *convolution_norm(convolution, channels)))

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for layer in self.dense_block:
            y = layer(x)
            x = torch.cat((y, x), dim=1)
        return y


class DenseEncoder(nn.Module):
    """(B, 2, T, F) -> (B, channels, T, about F / 2).

    Args:
        causal: as in DenseBlock.
        frequency_padding: bins of zeros on both sides before the frequency axis is halved.
    """

    def __init__(self, channels: int, causal: bool, frequency_padding: int) -> None:
        super().__init__()
        self.dense_conv_1 = convolution_norm(nn.Conv2d(2, channels, 1), channels)
        self.dense_block = DenseBlock(channels, causal)
        self.dense_conv_2 = convolution_norm(
            nn.Conv2d(channels, channels, (1, 3), stride=(1, 2), padding=(0, frequency_padding)), channels
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.dense_conv_2(self.dense_block(self.dense_conv_1(x)))


class LearnableSigmoid(nn.Module):
    """beta * sigmoid(slope * x) with learned slopes.

    Args:
        shape: shape of the slopes, which is broadcast with x: (F, 1) is one for each frequency of (B, F, T).
        beta: largest value.
    """

    def __init__(self, shape: tuple[int, ...], beta: float) -> None:
        super().__init__()
        self.beta = beta
        self.slope = nn.Parameter(torch.ones(shape))

    def forward(self, x: Tensor) -> Tensor:
        return self.beta * torch.sigmoid(self.slope * x)


class MaskDecoder(nn.Module):
    """(B, C, T, F') -> magnitude mask (B, F, T) in 0 to beta.

    Args:
        dense_block: first layers.
        mask_conv: the others, (B, C, T, F') -> (B, 1, T, F).
        bins: F.
        beta: largest value.
    """

    def __init__(self, dense_block: DenseBlock, mask_conv: nn.Sequential, bins: int, beta: float) -> None:
        super().__init__()
        self.dense_block = dense_block
        self.mask_conv = mask_conv
        self.lsigmoid = LearnableSigmoid((bins, 1), beta)

    def forward(self, x: Tensor) -> Tensor:
        return self.lsigmoid(self.mask_conv(self.dense_block(x))[:, 0].transpose(1, 2))


class PhaseDecoder(nn.Module):
    """(B, C, T, F') -> phase (B, F, T) in radians, from a pseudo real and imaginary part.

    Args:
        dense_block: first layers.
        phase_conv: the next ones, which double the bins.
        channels: C.
        kernel_size: bins of the kernels that give the two parts.
    """

    def __init__(
        self, dense_block: DenseBlock, phase_conv: nn.Sequential, channels: int, kernel_size: int
    ) -> None:
        super().__init__()
        self.dense_block = dense_block
        self.phase_conv = phase_conv
        self.phase_conv_r = nn.Conv2d(channels, 1, (1, kernel_size))
        self.phase_conv_i = nn.Conv2d(channels, 1, (1, kernel_size))

    def forward(self, x: Tensor) -> Tensor:
        x = self.phase_conv(self.dense_block(x))
        return torch.atan2(self.phase_conv_i(x), self.phase_conv_r(x))[:, 0].transpose(1, 2)


def convolution_norm(convolution: nn.Module, channels: int) -> nn.Sequential:
    """Return a convolution to so many channels with its instance norm and its PReLU, one slope a channel."""
    return nn.Sequential(convolution, nn.InstanceNorm2d(channels, affine=True), nn.PReLU(channels))
