"""BigVGAN and BigVGAN-v2: HiFi-GAN's skeleton with anti-aliased periodic activations.

Lee, Ping, Ginsburg, Catanzaro, Yoon: BigVGAN: A Universal Neural Vocoder with Large-Scale Training, ICLR
2023, arXiv:2206.04658.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from audiotool.configuration import Length, Width
from audiotool.models.hifigan import HiFiGAN, HiFiGANConfig
from audiotool.models.layers.antialias import AntiAliased, Snake
from audiotool.models.layers.receptive_field import Span, input_span


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


class BigVGAN(HiFiGAN):
    """Mel (B, n_mels, frames) -> waveform (B, 1, frames * hop)."""

    name = "bigvgan"
    config_class = BigVGANConfig
    reference = "Lee et al., BigVGAN, ICLR 2023, arXiv:2206.04658"

    def activation_layer(self, channels: int) -> AntiAliased:
        return AntiAliased(Snake(channels, self.config.activation == "snakebeta", self.config.snake_logscale))

    def add_output(self, channels: int) -> None:
        self.activation_post = self.activation_layer(channels)
        self.conv_post = nn.Conv1d(channels, 1, 7, padding=3, bias=self.config.use_bias_at_final)

    def activation(self, x: Tensor) -> Tensor:
        """Return x as it is, because each residual block begins with an activation."""
        return x

    def output(self, x: Tensor) -> Tensor:
        x = self.conv_post(self.activation_post(x))
        return torch.tanh(x) if self.config.use_tanh_at_final else x.clamp(-1.0, 1.0)

    def output_span(self, span: Span) -> Span:
        return input_span((self.activation_post, self.conv_post), span)
