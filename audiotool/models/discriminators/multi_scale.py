"""Multi-scale discriminator: grouped 1-D convolutions over a waveform at three rates.

Kumar et al., MelGAN, NeurIPS 2019, arXiv:1910.06711, in the sizes of HiFi-GAN, arXiv:2010.05646.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from audiotool.models.discriminators.base import Discriminator, DiscriminatorOutput, convolve, norm_of

LAYERS = (
    (1, 128, 15, 1, 1),
    (128, 128, 41, 2, 4),
    (128, 256, 41, 2, 16),
    (256, 512, 41, 4, 16),
    (512, 1024, 41, 4, 16),
    (1024, 1024, 41, 1, 16),
    (1024, 1024, 5, 1, 1),
)
"""Input and output channels, kernel, stride and groups of each convolution."""


class ScaleDiscriminator(nn.Module):
    """The discriminator of one sample rate: (B, 1, T) -> logits (B, about T / 64)."""

    def __init__(self, spectral_norm: bool) -> None:
        super().__init__()
        norm = norm_of(spectral_norm)
        self.convs = nn.ModuleList(
            norm(nn.Conv1d(a, b, kernel, stride, padding=kernel // 2, groups=groups))
            for a, b, kernel, stride, groups in LAYERS
        )
        self.conv_post = norm(nn.Conv1d(LAYERS[-1][1], 1, 3, padding=1))

    def forward(self, waveform: Tensor) -> DiscriminatorOutput:
        x, features = convolve(self.convs, waveform)
        logits = self.conv_post(x)
        return logits.flatten(1), [*features, logits]


class MultiScaleDiscriminator(Discriminator):
    """Full, half and quarter rate, the first with spectral norm (29,618,821 parameters)."""

    name = "multi-scale"

    def __init__(self) -> None:
        super().__init__()
        self.discriminators = nn.ModuleList(ScaleDiscriminator(spectral_norm=n == 0) for n in range(3))

    def forward(self, waveform: Tensor, **conditions: Any) -> list[DiscriminatorOutput]:
        found = []
        for n, discriminator in enumerate(self.discriminators):
            if n:
                waveform = F.avg_pool1d(waveform, 4, 2, padding=2)
            found.append(discriminator(waveform))
        return found
