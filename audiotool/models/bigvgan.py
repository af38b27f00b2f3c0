"""BigVGAN and BigVGAN-v2: HiFi-GAN's skeleton with anti-aliased periodic activations.

Lee, Ping, Ginsburg, Catanzaro, Yoon: BigVGAN: A Universal Neural Vocoder with Large-Scale Training, ICLR
2023, arXiv:2206.04658.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from audiotool.models.hifigan import same_conv
from audiotool.models.layers.antialias import AntiAliased, Snake
from audiotool.models.layers.receptive_field import Span, input_span, residual_span, union
from audiotool.models.layers.weight_norm import normalise_weights
from audiotool.models.vocoder import Vocoder


@dataclass(frozen=True)
class BigVGANConfig:
    """Hyper-parameters; the defaults are bigvgan_v2_24khz_100band_256x (112 million parameters).

    Args:
        mel: definition of the input.
        upsample_rates: factor of each level; their product is the mel's hop.
        upsample_kernel_sizes: kernel of each level's transposed convolution.
        upsample_initial_channel: width before the first level; each level halves it.
        resblock: "1" (pairs of convolutions) or "2" (single ones).
        resblock_kernel_sizes: kernel of each parallel residual block.
        resblock_dilation_sizes: dilations in each of them.
        activation: "snake" or "snakebeta".
        snake_logscale: the activations' parameters are logarithms.
        use_tanh_at_final: end in tanh (the first version) instead of a clamp to [-1, 1].
        use_bias_at_final: bias of the last convolution.
        weight_norm: normalise weights, as in training; False for folded weights.
    """

    mel: str | Mapping[str, Any] = "bigvgan-v2-24k-100"
    upsample_rates: tuple[int, ...] = (4, 4, 2, 2, 2, 2)
    upsample_kernel_sizes: tuple[int, ...] = (8, 8, 4, 4, 4, 4)
    upsample_initial_channel: int = 1536
    resblock: Literal["1", "2"] = "1"
    resblock_kernel_sizes: tuple[int, ...] = (3, 7, 11)
    resblock_dilation_sizes: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    activation: Literal["snake", "snakebeta"] = "snakebeta"
    snake_logscale: bool = True
    use_tanh_at_final: bool = False
    use_bias_at_final: bool = False
    weight_norm: bool = True

    def __post_init__(self) -> None:
        if self.resblock not in ("1", "2"):
            raise ValueError(f"resblock is '1' or '2', got {self.resblock!r}")
        if self.activation not in ("snake", "snakebeta"):
            raise ValueError(f"activation is 'snake' or 'snakebeta', got {self.activation!r}")
        if len(self.upsample_rates) != len(self.upsample_kernel_sizes):
            raise ValueError("upsample_rates and upsample_kernel_sizes must have one entry a level")
        if len(self.resblock_kernel_sizes) != len(self.resblock_dilation_sizes):
            raise ValueError("resblock_kernel_sizes and resblock_dilation_sizes must have one entry a block")

    def activation_layer(self, channels: int) -> AntiAliased:
        """The activation, anti-aliased, for that many channels."""
        return AntiAliased(Snake(channels, self.activation == "snakebeta", self.snake_logscale))


Activation = Callable[[int], nn.Module]


class AMPBlock1(nn.Module):
    """For each dilation: activation, dilated convolution, activation, plain convolution, add."""

    def __init__(
        self, channels: int, kernel_size: int, dilations: Sequence[int], activation: Activation
    ) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(same_conv(channels, kernel_size, d) for d in dilations)
        self.convs2 = nn.ModuleList(same_conv(channels, kernel_size, 1) for _ in dilations)
        self.activations = nn.ModuleList(activation(channels) for _ in range(2 * len(dilations)))

    def branches(self) -> list[tuple[nn.Module, ...]]:
        """Layers of each residual branch, in order."""
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


class AMPBlock2(nn.Module):
    """For each dilation: activation, dilated convolution, add."""

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


class BigVGAN(Vocoder):
    """Mel (B, n_mels, frames) -> waveform (B, 1, frames * hop)."""

    name = "bigvgan"
    config_class = BigVGANConfig
    reference = "Lee et al., BigVGAN, ICLR 2023, arXiv:2206.04658"

    def __init__(self, config: BigVGANConfig) -> None:
        super().__init__(config)
        c = config
        self.check_upsampling(math.prod(c.upsample_rates))
        width = c.upsample_initial_channel
        self.conv_pre = nn.Conv1d(self.input_channels, width, 7, padding=3)
        self.ups = nn.ModuleList()
        self.resblocks = nn.ModuleList()
        block = AMPBlock1 if c.resblock == "1" else AMPBlock2
        for rate, kernel in zip(c.upsample_rates, c.upsample_kernel_sizes, strict=True):
            self.ups.append(nn.ConvTranspose1d(width, width // 2, kernel, rate, padding=(kernel - rate) // 2))
            width //= 2
            for size, dilations in zip(c.resblock_kernel_sizes, c.resblock_dilation_sizes, strict=True):
                self.resblocks.append(block(width, size, dilations, c.activation_layer))
        self.activation_post = c.activation_layer(width)
        self.conv_post = nn.Conv1d(width, 1, 7, padding=3, bias=c.use_bias_at_final)
        self.declare_context()
        if c.weight_norm:
            normalise_weights(self)

    def forward(self, mel: Tensor) -> Tensor:
        """Mel (B, n_mels, frames) -> waveform (B, 1, samples) in [-1, 1], as the official generator."""
        x = self.conv_pre(mel)
        for level, up in enumerate(self.ups):
            x = up(x)
            blocks = self._blocks(level)
            x = sum((block(x) for block in blocks[1:]), start=blocks[0](x)) / len(blocks)
        x = self.conv_post(self.activation_post(x))
        return torch.tanh(x) if self.config.use_tanh_at_final else x.clamp(-1.0, 1.0)

    def input_span(self, span: Span) -> Span:
        span = input_span((self.activation_post, self.conv_post), span)
        for level in reversed(range(len(self.ups))):
            span = union(input_span(block, span) for block in self._blocks(level))
            span = input_span(self.ups[level], span)
        return input_span(self.conv_pre, span)

    def _blocks(self, level: int) -> list[nn.Module]:
        """Parallel residual blocks of a level."""
        count = len(self.config.resblock_kernel_sizes)
        return list(self.resblocks[level * count : (level + 1) * count])
