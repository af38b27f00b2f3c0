"""BigVGAN and BigVGAN-v2: HiFi-GAN's skeleton with anti-aliased periodic activations.

Lee, Ping, Ginsburg, Catanzaro, Yoon: BigVGAN: A Universal Neural Vocoder with Large-Scale Training, ICLR
2023, arXiv:2206.04658.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from audiotool.configuration import Length, Width
from audiotool.models.hifigan import HiFiGAN, HiFiGANConfig, same_conv
from audiotool.models.layers.antialias import AntiAliased, Snake
from audiotool.models.layers.receptive_field import Span, input_span, residual_span


@dataclass(frozen=True)
class BigVGANConfig(HiFiGANConfig):
    """Hyper-parameters; the defaults are bigvgan_v2_24khz_100band_256x (112 million parameters).

    Args:
        activation: "snake" or "snakebeta".
        snake_logscale: the activations' parameters are logarithms.
        use_tanh_at_final: limit the output by tanh (the first version) instead of a clamp to [-1, 1].
        use_bias_at_final: whether the last convolution has a bias.
    """

    mel: str | Mapping[str, Any] = "bigvgan-v2-24k-100"
    upsample_rates: tuple[Length, ...] = (4, 4, 2, 2, 2, 2)
    upsample_kernel_sizes: tuple[Length, ...] = (8, 8, 4, 4, 4, 4)
    upsample_initial_channel: Width = 1536
    activation: Literal["snake", "snakebeta"] = "snakebeta"
    snake_logscale: bool = True
    use_tanh_at_final: bool = False
    use_bias_at_final: bool = False

    def activation_layer(self, channels: int) -> AntiAliased:
        """Make the anti-aliased activation for a number of channels."""
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


class BigVGAN(HiFiGAN):
    """Mel (B, n_mels, frames) -> waveform (B, 1, frames * hop)."""

    name = "bigvgan"
    config_class = BigVGANConfig
    small: ClassVar[dict[str, Any]] = {
        "upsample_rates": [16, 16],
        "upsample_kernel_sizes": [32, 32],
        "upsample_initial_channel": 16,
        "resblock_kernel_sizes": [3],
        "resblock_dilation_sizes": [[1, 3]],
    }
    reference = "Lee et al., BigVGAN, ICLR 2023, arXiv:2206.04658"

    def residual_block(self, channels: int, kernel_size: int, dilations: Sequence[int]) -> nn.Module:
        block = AMPBlock1 if self.config.resblock == "1" else AMPBlock2
        return block(channels, kernel_size, dilations, self.config.activation_layer)

    def add_output(self, channels: int) -> None:
        self.activation_post = self.config.activation_layer(channels)
        self.conv_post = nn.Conv1d(channels, 1, 7, padding=3, bias=self.config.use_bias_at_final)

    def activation(self, x: Tensor) -> Tensor:
        """Return x as it is, because each residual block begins with an activation."""
        return x

    def output(self, x: Tensor) -> Tensor:
        x = self.conv_post(self.activation_post(x))
        return torch.tanh(x) if self.config.use_tanh_at_final else x.clamp(-1.0, 1.0)

    def output_span(self, span: Span) -> Span:
        return input_span((self.activation_post, self.conv_post), span)
