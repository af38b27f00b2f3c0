"""MelGAN's multi-scale discriminator: grouped convolutions over the waveform at several rates.

Kumar et al.: MelGAN: Generative Adversarial Networks for Conditional Waveform Synthesis, NeurIPS 2019,
arXiv:1910.06711. Layer names are those of kan-bayashi/ParallelWaveGAN, whose configuration v3 trains with it.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from audiotool.models.discriminators.base import Discriminator, DiscriminatorOutput
from audiotool.models.layers.weight_norm import normalise_weights

SLOPE = 0.2


class MelGANScale(nn.Module):
    """One rate: a wide convolution, strided grouped ones, two short ones; (B, 1, T) -> logits (B, 1, T')."""

    def __init__(
        self,
        kernel_sizes: tuple[int, int],
        channels: int,
        max_downsample_channels: int,
        downsample_scales: tuple[int, ...],
    ) -> None:
        super().__init__()
        first = kernel_sizes[0] * kernel_sizes[1]
        self.layers = nn.ModuleList(
            [
                nn.Sequential(
                    nn.ReflectionPad1d((first - 1) // 2), nn.Conv1d(1, channels, first), nn.LeakyReLU(SLOPE)
                )
            ]
        )
        inner = channels
        for scale in downsample_scales:
            outer = min(inner * scale, max_downsample_channels)
            conv = nn.Conv1d(inner, outer, 10 * scale + 1, stride=scale, padding=5 * scale, groups=inner // 4)
            self.layers.append(nn.Sequential(conv, nn.LeakyReLU(SLOPE)))
            inner = outer
        outer = min(2 * inner, max_downsample_channels)
        short = nn.Conv1d(inner, outer, kernel_sizes[0], padding=(kernel_sizes[0] - 1) // 2)
        self.layers.append(nn.Sequential(short, nn.LeakyReLU(SLOPE)))
        self.layers.append(nn.Conv1d(outer, 1, kernel_sizes[1], padding=(kernel_sizes[1] - 1) // 2))

    def forward(self, x: Tensor) -> DiscriminatorOutput:
        features = []
        for layer in self.layers:
            x = layer(x)
            features.append(x)
        return x, features[:-1]


class MelGANDiscriminator(Discriminator):
    """The same network at the full sample rate, half of it, a quarter and so on.

    Args:
        scales: number of sample rates.
        kernel_sizes: odd; the first kernel is their product, the last two are these.
        channels: channels of the first convolution; a multiple of 4.
        max_downsample_channels: greatest number of channels of the others.
        downsample_scales: strides.
    """

    name = "melgan"

    def __init__(
        self,
        scales: int = 3,
        kernel_sizes: tuple[int, int] = (5, 3),
        channels: int = 16,
        max_downsample_channels: int = 1024,
        downsample_scales: tuple[int, ...] = (4, 4, 4, 4),
        weight_norm: bool = True,
    ) -> None:
        super().__init__()
        if any(size % 2 == 0 for size in kernel_sizes) or channels % 4:
            raise ValueError("kernel_sizes must be odd, and channels a multiple of 4")
        self.discriminators = nn.ModuleList(
            MelGANScale(kernel_sizes, channels, max_downsample_channels, downsample_scales)
            for _ in range(scales)
        )
        self.pooling = nn.AvgPool1d(4, stride=2, padding=1, count_include_pad=False)
        for layer in self.modules():
            if isinstance(layer, nn.Conv1d):
                nn.init.normal_(layer.weight, 0.0, 0.02)
        if weight_norm:
            normalise_weights(self)

    def forward(self, waveform: Tensor, **conditions: Any) -> list[DiscriminatorOutput]:
        found = []
        for discriminator in self.discriminators:
            found.append(discriminator(waveform))
            waveform = self.pooling(waveform)
        return found
