"""Multi-resolution discriminator: 2-D convolutions over magnitude spectrograms of several resolutions.

Jang et al., UnivNet, Interspeech 2021, arXiv:2106.07889, as BigVGAN's first version uses it
(arXiv:2206.04658): the window is rectangular.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiotool.models.discriminators.base import (
    Discriminator,
    DiscriminatorOutput,
    convolve,
    norm_of,
    spectrogram_convs,
)

RESOLUTIONS = ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240))


class ResolutionDiscriminator(nn.Module):
    """One resolution (n_fft, hop_length, win_length): (B, 1, T) -> logits (B, F * about frames / 8)."""

    window: Tensor

    def __init__(self, resolution: tuple[int, int, int], channels: int, spectral_norm: bool) -> None:
        super().__init__()
        self.n_fft, self.hop_length, self.win_length = resolution
        self.register_buffer("window", torch.ones(self.win_length), persistent=False)
        norm = norm_of(spectral_norm)
        self.convs = spectrogram_convs(1, channels, norm)
        self.conv_post = norm(nn.Conv2d(channels, 1, (3, 3), padding=(1, 1)))

    def magnitude(self, waveform: Tensor) -> Tensor:
        """(B, 1, T) -> (B, 1, F, frames)."""
        edge = (self.n_fft - self.hop_length) // 2
        padded = F.pad(waveform, (edge, edge), mode="reflect")[:, 0]
        spec = torch.stft(
            padded,
            self.n_fft,
            self.hop_length,
            self.win_length,
            self.window,
            center=False,
            return_complex=True,
        )
        return spec.abs()[:, None]

    def forward(self, waveform: Tensor) -> DiscriminatorOutput:
        x, features = convolve(self.convs, self.magnitude(waveform))
        logits = self.conv_post(x)
        return logits.flatten(1), [*features, logits]


class MultiResolutionDiscriminator(Discriminator):
    """Three magnitude spectrograms.

    Args:
        resolutions: (n_fft, hop_length, win_length) of each.
        channel_multiplier: factor of the published width, 32.
        spectral_norm: instead of weight norm.
    """

    name = "multi-resolution"

    def __init__(
        self,
        resolutions: tuple[tuple[int, int, int], ...] = RESOLUTIONS,
        channel_multiplier: float = 1.0,
        spectral_norm: bool = False,
    ) -> None:
        super().__init__()
        channels = int(32 * channel_multiplier)
        self.discriminators = nn.ModuleList(
            ResolutionDiscriminator(r, channels, spectral_norm) for r in resolutions
        )

    def forward(self, waveform: Tensor, **conditions: Any) -> list[DiscriminatorOutput]:
        return [discriminator(waveform) for discriminator in self.discriminators]
