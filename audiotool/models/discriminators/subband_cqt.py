"""Multi-scale sub-band CQT discriminator: 2-D convolutions over constant-Q transforms, first by octave.

Gu et al., Multi-Scale Sub-Band Constant-Q Transform Discriminator for High-Fidelity Vocoder, ICASSP 2024,
arXiv:2311.14957; BigVGAN-v2's second discriminator.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from audiotool.dsp.cqt import ConstantQ
from audiotool.models.discriminators.base import Discriminator, DiscriminatorOutput, convolve
from audiotool.models.discriminators.multi_band import normalise_volume
from audiotool.models.layers.weight_norm import weight_norm


class CQTDiscriminator(nn.Module):
    """One hop and number of bins an octave: (B, 1, T) -> logits (B, 1, frames, about bins / 8).

    The transform works at twice the sample rate.
    """

    def __init__(
        self,
        transform: ConstantQ,
        bins_per_octave: int,
        filters: Sequence[int],
        dilations: Sequence[int],
        normalised: bool,
    ) -> None:
        super().__init__()
        self.transform = transform
        self.bins_per_octave = bins_per_octave
        self.normalised = normalised
        self.conv_pres = nn.ModuleList(
            nn.Conv2d(2, 2, (3, 9), padding=(1, 4)) for _ in range(transform.n_octaves)
        )
        dilated = [
            weight_norm(nn.Conv2d(a, b, (3, 9), (1, 2), dilation=(d, 1), padding=(d, 4)))
            for a, b, d in zip(filters, filters[1:], dilations, strict=False)
        ]
        self.convs = nn.ModuleList(
            [
                nn.Conv2d(2, filters[0], (3, 9), padding=(1, 4)),
                *dilated,
                weight_norm(nn.Conv2d(filters[-2], filters[-1], (3, 3), padding=(1, 1))),
            ]
        )
        self.conv_post = weight_norm(nn.Conv2d(filters[-1], 1, (3, 3), padding=(1, 1)))

    def forward(self, waveform: Tensor) -> DiscriminatorOutput:
        from torchaudio.functional import resample

        x = normalise_volume(waveform) if self.normalised else waveform
        spec = self.transform(resample(x, 1, 2))
        x = torch.stack((spec.real, spec.imag), dim=1).transpose(2, 3)  # (B, 2, frames, bins)
        octaves = x.split(self.bins_per_octave, dim=-1)
        x = torch.cat([conv(o) for conv, o in zip(self.conv_pres, octaves, strict=True)], dim=-1)
        x, features = convolve(self.convs, x)
        return self.conv_post(x), features


class MultiScaleSubbandCQTDiscriminator(Discriminator):
    """Three constant-Q transforms.

    Args:
        sample_rate: Hz of the waveforms.
        hop_lengths: samples between frames of each transform, at twice the sample rate.
        n_octaves: octaves of each, from 32.7 Hz up.
        bins_per_octaves: bins per octave of each.
        filters: width of the first layer.
        filters_scale: factor from each layer to the next.
        max_filters: widest layer.
        dilations: over time, of the layers between the first and the last.
        normalise_volume: remove the mean and bring the peak to 0.8 first.
    """

    name = "subband-cqt"

    def __init__(
        self,
        sample_rate: int,
        hop_lengths: tuple[int, ...] = (512, 256, 256),
        n_octaves: tuple[int, ...] = (9, 9, 9),
        bins_per_octaves: tuple[int, ...] = (24, 36, 48),
        filters: int = 32,
        filters_scale: int = 1,
        max_filters: int = 1024,
        dilations: tuple[int, ...] = (1, 2, 4),
        normalise_volume: bool = False,
    ) -> None:
        super().__init__()
        widths = [min(filters_scale**n * filters, max_filters) for n in range(len(dilations) + 2)]
        self.discriminators = nn.ModuleList(
            CQTDiscriminator(
                ConstantQ(2 * sample_rate, hop, octaves, bins), bins, widths, dilations, normalise_volume
            )
            for hop, octaves, bins in zip(hop_lengths, n_octaves, bins_per_octaves, strict=True)
        )

    def forward(self, waveform: Tensor, **conditions: Any) -> list[DiscriminatorOutput]:
        return [discriminator(waveform) for discriminator in self.discriminators]
