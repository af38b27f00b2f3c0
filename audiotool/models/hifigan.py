"""HiFi-GAN: transposed convolutions, each followed by residual blocks of several receptive fields.

Kong, Kim, Bae: HiFi-GAN: Generative Adversarial Networks for Efficient and High Fidelity Speech Synthesis,
NeurIPS 2020, arXiv:2010.05646.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiotool.configuration import Length, Width
from audiotool.models.layers.receptive_field import Span, input_span, residual_span, union
from audiotool.models.layers.weight_norm import normalise_weights
from audiotool.models.vocoder import Vocoder

SLOPE = 0.1
FINAL_SLOPE = 0.01
"""The published network leaves the last activation at its framework's default slope."""

Activation = Callable[[int], nn.Module]
"""Function that makes an activation for a number of channels."""


@dataclass(frozen=True)
class HiFiGANConfig:
    """Hyper-parameters; the defaults are the published V1 (13,926,017 parameters without weight norm).

    Args:
        mel: definition of the input.
        upsample_rates: factor of each level; their product is the mel's hop.
        upsample_kernel_sizes: kernel of each level's transposed convolution.
        upsample_initial_channel: width before the first level; each level halves it.
        resblock: "1" (pairs of convolutions) or "2" (single ones).
        resblock_kernel_sizes: kernel of each parallel residual block.
        resblock_dilation_sizes: dilations in each of them.
        weight_norm: normalise weights, as in training; False for folded weights.
    """

    mel: str | Mapping[str, Any] = "hifigan-22k"
    upsample_rates: tuple[Length, ...] = (8, 8, 2, 2)
    upsample_kernel_sizes: tuple[Length, ...] = (16, 16, 4, 4)
    upsample_initial_channel: Width = 512
    resblock: Literal["1", "2"] = "1"
    resblock_kernel_sizes: tuple[Length, ...] = (3, 7, 11)
    resblock_dilation_sizes: tuple[tuple[Length, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    weight_norm: bool = True

    def __post_init__(self) -> None:
        if len(self.upsample_rates) != len(self.upsample_kernel_sizes):
            raise ValueError("upsample_rates and upsample_kernel_sizes must have one entry a level")
        if len(self.resblock_kernel_sizes) != len(self.resblock_dilation_sizes):
            raise ValueError("resblock_kernel_sizes and resblock_dilation_sizes must have one entry a block")
        if any(size % 2 == 0 for size in self.resblock_kernel_sizes):
            raise ValueError(f"resblock_kernel_sizes must be odd, found {self.resblock_kernel_sizes}")
        levels = zip(self.upsample_rates, self.upsample_kernel_sizes, strict=True)
        if any(size < rate for rate, size in levels):
            raise ValueError(
                f"upsample_kernel_sizes {self.upsample_kernel_sizes} must be at least the upsample_rates,"
                f" {self.upsample_rates}"
            )


def same_conv(channels: int, kernel_size: int, dilation: int) -> nn.Conv1d:
    """Make a convolution that keeps the length, for odd kernels."""
    padding = dilation * (kernel_size - 1) // 2
    return nn.Conv1d(channels, channels, kernel_size, dilation=dilation, padding=padding)


class ResBlock1(nn.Module):
    """For each dilation: activation, dilated convolution, activation, plain convolution, add; (B, C, T)."""

    def __init__(
        self, channels: int, kernel_size: int, dilations: Sequence[int], activation: Activation
    ) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(same_conv(channels, kernel_size, d) for d in dilations)
        self.convs2 = nn.ModuleList(same_conv(channels, kernel_size, 1) for _ in dilations)
        self.activations = nn.ModuleList(activation(channels) for _ in range(2 * len(dilations)))

    def branches(self) -> list[tuple[nn.Module, ...]]:
        """Return the layers of each residual branch, in order."""
        before, between = self.activations[::2], self.activations[1::2]
        return list(zip(before, self.convs1, between, self.convs2, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        for first, dilated, second, plain in self.branches():
            x = x + plain(second(dilated(first(x))))
        return x

    def input_span(self, span: Span) -> Span:
        for branch in reversed(self.branches()):
            span = residual_span(branch, span)
        return span


class ResBlock2(nn.Module):
    """For each dilation: activation, dilated convolution, add; (B, C, T)."""

    def __init__(
        self, channels: int, kernel_size: int, dilations: Sequence[int], activation: Activation
    ) -> None:
        super().__init__()
        self.convs = nn.ModuleList(same_conv(channels, kernel_size, d) for d in dilations)
        self.activations = nn.ModuleList(activation(channels) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        for activation, conv in zip(self.activations, self.convs, strict=True):
            x = x + conv(activation(x))
        return x

    def input_span(self, span: Span) -> Span:
        for branch in zip(reversed(self.activations), reversed(self.convs), strict=True):
            span = residual_span(branch, span)
        return span


class HiFiGAN(Vocoder):
    """Mel (B, n_mels, frames) -> waveform (B, 1, frames * hop)."""

    name = "hifigan"
    config_class = HiFiGANConfig
    small: ClassVar[dict[str, Any]] = {
        "upsample_rates": [16, 16],
        "upsample_kernel_sizes": [32, 32],
        "upsample_initial_channel": 16,
        "resblock_kernel_sizes": [3],
        "resblock_dilation_sizes": [[1, 3]],
    }
    reference = "Kong et al., HiFi-GAN, NeurIPS 2020, arXiv:2010.05646"

    def __init__(self, config: HiFiGANConfig) -> None:
        super().__init__(config)
        c = config
        self.check_upsampling(math.prod(c.upsample_rates))
        width = c.upsample_initial_channel
        self.conv_pre = nn.Conv1d(self.input_channels, width, 7, padding=3)
        self.ups = nn.ModuleList()
        self.resblocks = nn.ModuleList()
        block = ResBlock1 if c.resblock == "1" else ResBlock2
        for rate, kernel in zip(c.upsample_rates, c.upsample_kernel_sizes, strict=True):
            self.ups.append(nn.ConvTranspose1d(width, width // 2, kernel, rate, padding=(kernel - rate) // 2))
            width //= 2
            for size, dilations in zip(c.resblock_kernel_sizes, c.resblock_dilation_sizes, strict=True):
                self.resblocks.append(block(width, size, dilations, self.activation_layer))
        self.add_output(width)
        self.declare_context()
        if c.weight_norm:
            normalise_weights(self)

    def activation_layer(self, channels: int) -> nn.Module:
        """Make an activation of the residual blocks."""
        return nn.LeakyReLU(SLOPE)

    def add_output(self, channels: int) -> None:
        """Make the layers of `output`."""
        self.conv_post = nn.Conv1d(channels, 1, 7, padding=3)

    def activation(self, x: Tensor) -> Tensor:
        """Apply the activation before an upsampling layer."""
        return F.leaky_relu(x, SLOPE)

    def output(self, x: Tensor) -> Tensor:
        """Map the last level's output (B, channels, T) to a waveform (B, 1, T) in [-1, 1]."""
        return torch.tanh(self.conv_post(F.leaky_relu(x, FINAL_SLOPE)))

    def output_span(self, span: Span) -> Span:
        """Return the span of the input that `output` needs for a span of the waveform."""
        return input_span(self.conv_post, span)

    def forward(self, mel: Tensor) -> Tensor:
        """Vocode a mel (B, n_mels, frames) to (B, 1, samples) in [-1, 1], as the official generator."""
        x = self.conv_pre(mel)
        for level, up in enumerate(self.ups):
            x = up(self.activation(x))
            blocks = self._blocks(level)
            x = sum((block(x) for block in blocks[1:]), start=blocks[0](x)) / len(blocks)
        return self.output(x)

    def input_span(self, span: Span) -> Span:
        span = self.output_span(span)
        for level in reversed(range(len(self.ups))):
            span = union(input_span(block, span) for block in self._blocks(level))
            span = input_span(self.ups[level], span)
        return input_span(self.conv_pre, span)

    def _blocks(self, level: int) -> list[nn.Module]:
        """Return the parallel residual blocks of a level."""
        count = len(self.config.resblock_kernel_sizes)
        return list(self.resblocks[level * count : (level + 1) * count])
