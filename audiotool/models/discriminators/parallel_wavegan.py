"""Parallel WaveGAN's discriminators: dilated convolutions with a logit for every sample.

Yamamoto et al., ICASSP 2020, arXiv:1910.11480. Layer names are those of kan-bayashi/ParallelWaveGAN.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from audiotool.models.discriminators.base import Discriminator, DiscriminatorOutput
from audiotool.models.layers.wavenet import ResidualBlock, StackShape, make_activation
from audiotool.models.layers.weight_norm import normalise_weights

ACTIVATION = ("LeakyReLU", {"negative_slope": 0.2})
"""Published activation: torch's name for it, and its arguments."""


class ParallelWaveGANDiscriminator(Discriminator):
    """Ten convolutions (99,842 parameters); logits (B, 1, T), one for each sample.

    Args:
        kernel_size: odd.
        layers: convolutions, the last one included.
        conv_channels: channels of all but the last.
        dilation_factor: 1 dilates layer i by i, f > 1 by f^i; the first and the last are not dilated.
        nonlinear_activation, nonlinear_activation_params: torch's name and arguments of the activation.
    """

    name = "parallel-wavegan"

    def __init__(
        self,
        kernel_size: int = 3,
        layers: int = 10,
        conv_channels: int = 64,
        dilation_factor: int = 1,
        bias: bool = True,
        nonlinear_activation: str = ACTIVATION[0],
        nonlinear_activation_params: Mapping[str, Any] = ACTIVATION[1],
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
            conv = nn.Conv1d(inner, conv_channels, kernel_size, dilation=dilation, padding=padding, bias=bias)
            activation = make_activation(nonlinear_activation, nonlinear_activation_params)
            self.conv_layers.extend((conv, activation))
        self.conv_layers.append(
            nn.Conv1d(conv_channels, 1, kernel_size, padding=(kernel_size - 1) // 2, bias=bias)
        )
        if weight_norm:
            normalise_weights(self)

    def forward(self, waveform: Tensor, **conditions: Any) -> list[DiscriminatorOutput]:
        features = []
        x = waveform
        for layer in self.conv_layers[:-1]:
            x = layer(x)
            if not isinstance(layer, nn.Conv1d):
                features.append(x)
        return [(self.conv_layers[-1](x), features)]


class ResidualParallelWaveGANDiscriminator(Discriminator):
    """The generator's gated stack without a condition; logits (B, 1, T).

    Args:
        kernel_size: odd.
        layers, stacks: blocks, and the groups in which dilation doubles from 1.
        gate_channels: of tanh and sigmoid together.
        bias: of the blocks' convolutions.
        use_causal_conv: blocks do not look ahead.
        nonlinear_activation, nonlinear_activation_params: torch's name and arguments of the activation before
            and after the blocks.
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
        dropout: float = 0.0,
        bias: bool = True,
        use_causal_conv: bool = False,
        nonlinear_activation: str = ACTIVATION[0],
        nonlinear_activation_params: Mapping[str, Any] = ACTIVATION[1],
        weight_norm: bool = True,
    ) -> None:
        super().__init__()
        shape = StackShape(
            layers=layers,
            stacks=stacks,
            kernel_size=kernel_size,
            residual_channels=residual_channels,
            gate_channels=gate_channels,
            skip_channels=skip_channels,
            aux_channels=0,
            dropout=dropout,
            bias=bias,
            causal=use_causal_conv,
        )
        first, before, between = (
            make_activation(nonlinear_activation, nonlinear_activation_params) for _ in range(3)
        )
        self.first_conv = nn.Sequential(nn.Conv1d(1, residual_channels, 1), first)
        self.conv_layers = nn.ModuleList(ResidualBlock(shape, d) for d in shape.dilations)
        self.last_conv_layers = nn.Sequential(
            before,
            nn.Conv1d(skip_channels, skip_channels, 1),
            between,
            nn.Conv1d(skip_channels, 1, 1),
        )
        if weight_norm:
            normalise_weights(self)

    def forward(self, waveform: Tensor, **conditions: Any) -> list[DiscriminatorOutput]:
        x = self.first_conv(waveform)
        features, skips = [], []
        for block in self.conv_layers:
            x, skip, _ = block(x, None)
            features.append(x)
            skips.append(skip)
        total = torch.stack(skips).sum(0) * math.sqrt(1.0 / len(skips))
        return [(self.last_conv_layers(total), features)]
