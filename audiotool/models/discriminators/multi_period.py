"""Multi-period discriminator: 2-D convolutions over a waveform folded at several prime periods.

Kong et al., HiFi-GAN, NeurIPS 2020, arXiv:2010.05646. Vocos matches all features but the first layer's, and
may add a conditional projection to the logits (arXiv:2306.00814).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from audiotool.models.discriminators.base import (
    Discriminator,
    DiscriminatorOutput,
    condition_embedding,
    convolve,
    norm_of,
    with_condition,
)

CHANNELS = (32, 128, 512, 1024, 1024)


class PeriodDiscriminator(nn.Module):
    """The discriminator of one period: (B, 1, T) -> logits (B, about T / 81).

    Neighbours in a column of the folded waveform (B, 1, T / period, period) are `period` samples apart.
    """

    def __init__(
        self, period: int, channels: Sequence[int], spectral_norm: bool, first_feature: int, conditions: int
    ) -> None:
        super().__init__()
        self.period = period
        self.first_feature = first_feature
        norm = norm_of(spectral_norm)
        widths = (1, *channels)
        strides = [3] * (len(channels) - 1) + [1]
        self.convs = nn.ModuleList(
            norm(nn.Conv2d(a, b, (5, 1), (stride, 1), padding=(2, 0)))
            for a, b, stride in zip(widths, widths[1:], strides, strict=False)
        )
        self.conv_post = norm(nn.Conv2d(widths[-1], 1, (3, 1), padding=(1, 0)))
        self.emb = condition_embedding(conditions, widths[-1])

    def forward(self, waveform: Tensor, condition: Tensor | None = None) -> DiscriminatorOutput:
        x = F.pad(waveform, (0, -waveform.shape[-1] % self.period), mode="reflect")
        x, features = convolve(self.convs, x.unflatten(-1, (-1, self.period)))
        features.append(self.conv_post(x))
        logits = with_condition(features[-1], x, self.emb, condition)
        return logits.flatten(1), features[self.first_feature :]


class MultiPeriodDiscriminator(Discriminator):
    """Periods 2, 3, 5, 7 and 11 (41,105,770 parameters).

    Args:
        periods: in samples.
        channel_multiplier: factor of the published widths.
        spectral_norm: instead of weight norm.
        first_feature: first layer whose features are matched (Vocos: 1).
        conditions: number of conditions the logits may depend on; 0 for none.
    """

    name = "multi-period"

    def __init__(
        self,
        periods: tuple[int, ...] = (2, 3, 5, 7, 11),
        channel_multiplier: float = 1.0,
        spectral_norm: bool = False,
        first_feature: int = 0,
        conditions: int = 0,
    ) -> None:
        super().__init__()
        channels = [int(c * channel_multiplier) for c in CHANNELS]
        self.discriminators = nn.ModuleList(
            PeriodDiscriminator(p, channels, spectral_norm, first_feature, conditions) for p in periods
        )

    def forward(
        self, waveform: Tensor, condition: Tensor | None = None, **conditions: Any
    ) -> list[DiscriminatorOutput]:
        return [discriminator(waveform, condition) for discriminator in self.discriminators]
