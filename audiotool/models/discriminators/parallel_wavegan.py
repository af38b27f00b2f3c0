"""Parallel WaveGAN's discriminators: dilated convolutions that judge every sample.

Yamamoto et al., ICASSP 2020, arXiv:1910.11480. Layer names are those of kan-bayashi/ParallelWaveGAN.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from audiotool.models.discriminators.base import Discriminator, Judgement
from audiotool.models.layers.weight_norm import normalise_weights

SLOPE = 0.2


class ParallelWaveGANDiscriminator(Discriminator):
    """Ten convolutions (99,842 parameters); logits (B, 1, T), one for each sample.

    Args:
        kernel_size: odd.
        layers: convolutions, the last one included.
        conv_channels: of all but the last.
        dilation_factor: 1 dilates layer i by i, f > 1 by f^i; the first and the last are not dilated.
    """

    name = "parallel-wavegan"

    def __init__(
        self,
        kernel_size: int = 3,
        layers: int = 10,
        conv_channels: int = 64,
        dilation_factor: int = 1,
        weight_norm: bool = True,
    ) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size {kernel_size} has no centre")
        self.conv_layers = nn.ModuleList()
        for i in range(layers - 1):
            dilation = 1 if i == 0 else i if dilation_factor == 1 else dilation_factor**i
            padding = (kernel_size - 1) // 2 * dilation
            inner = 1 if i == 0 else conv_channels
            conv = nn.Conv1d(inner, conv_channels, kernel_size, dilation=dilation, padding=padding)
            self.conv_layers.extend((conv, nn.LeakyReLU(SLOPE)))
        self.conv_layers.append(nn.Conv1d(conv_channels, 1, kernel_size, padding=(kernel_size - 1) // 2))
        if weight_norm:
            normalise_weights(self)

    def forward(self, waveform: Tensor, **conditions: Any) -> list[Judgement]:
        features = []
        x = waveform
        for layer in self.conv_layers[:-1]:
            x = layer(x)
            if isinstance(layer, nn.LeakyReLU):
                features.append(x)
        return [(self.conv_layers[-1](x), features)]


class ResidualParallelWaveGANDiscriminator(Discriminator):
    """The generator's gated stack without a condition; logits (B, 1, T).

    Args:
        kernel_size: odd.
        layers, stacks: blocks, and the groups in which dilation doubles from 1.
        gate_channels: of tanh and sigmoid together.
    """

    name = "residual-parallel-wavegan"

    def __init__(
        self,
        kernel_size: int = 3,
        layers: int = 30,
        stacks: int = 3,
        residual_channels: int = 64,
        gate_channels: int = 128,
        skip_channels: int = 64,
        weight_norm: bool = True,
    ) -> None:
        super().__init__()
        if kernel_size % 2 == 0 or layers % stacks:
            raise ValueError("kernel_size must be odd, and layers a multiple of stacks")
        self.first_conv = nn.Sequential(nn.Conv1d(1, residual_channels, 1), nn.LeakyReLU(SLOPE))
        self.conv_layers = nn.ModuleList(
            _GatedBlock(
                residual_channels, gate_channels, skip_channels, kernel_size, 2 ** (i % (layers // stacks))
            )
            for i in range(layers)
        )
        self.last_conv_layers = nn.Sequential(
            nn.LeakyReLU(SLOPE),
            nn.Conv1d(skip_channels, skip_channels, 1),
            nn.LeakyReLU(SLOPE),
            nn.Conv1d(skip_channels, 1, 1),
        )
        if weight_norm:
            normalise_weights(self)

    def forward(self, waveform: Tensor, **conditions: Any) -> list[Judgement]:
        x = self.first_conv(waveform)
        features, skips = [], []
        for block in self.conv_layers:
            x, skip = block(x)
            features.append(x)
            skips.append(skip)
        total = torch.stack(skips).sum(0) * math.sqrt(1.0 / len(skips))
        return [(self.last_conv_layers(total), features)]


class _GatedBlock(nn.Module):
    def __init__(self, residual: int, gate: int, skip: int, kernel_size: int, dilation: int) -> None:
        super().__init__()
        padding = (kernel_size - 1) // 2 * dilation
        self.conv = nn.Conv1d(residual, gate, kernel_size, dilation=dilation, padding=padding)
        self.conv1x1_out = nn.Conv1d(gate // 2, residual, 1)
        self.conv1x1_skip = nn.Conv1d(gate // 2, skip, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        content, gate = self.conv(x).chunk(2, dim=1)
        gated = torch.tanh(content) * torch.sigmoid(gate)
        return (self.conv1x1_out(gated) + x) * math.sqrt(0.5), self.conv1x1_skip(gated)
