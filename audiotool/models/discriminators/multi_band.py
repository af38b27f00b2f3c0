"""Multi-band discriminator: 2-D convolutions over bands of complex spectrograms of several resolutions.

Kumar et al., Descript Audio Codec, NeurIPS 2023, arXiv:2306.06546; Vocos (arXiv:2306.00814) calls it its
multi-resolution discriminator.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from audiotool.models.discriminators.base import (
    Discriminator,
    DiscriminatorOutput,
    condition_embedding,
    convolve,
    spectrogram_convs,
    with_condition,
)
from audiotool.models.layers.weight_norm import weight_norm

BANDS = ((0.0, 0.1), (0.1, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0))


def normalise_volume(waveform: Tensor) -> Tensor:
    """Remove the mean and bring the peak to 0.8, for each waveform of (…, T)."""
    centred = waveform - waveform.mean(dim=-1, keepdim=True)
    return 0.8 * centred / (centred.abs().amax(dim=-1, keepdim=True) + 1e-9)


class BandDiscriminator(nn.Module):
    """One resolution: a stack of convolutions for each band, joined by a last one.

    (B, 1, T) -> logits (B, 1, frames, about F / 8).
    """

    window: Tensor

    def __init__(
        self, win_length: int, channels: int, bands: tuple[tuple[float, float], ...], conditions: int
    ) -> None:
        super().__init__()
        self.n_fft = win_length
        self.register_buffer("window", torch.hann_window(win_length), persistent=False)
        bins = win_length // 2 + 1
        self.bands = [(int(low * bins), int(high * bins)) for low, high in bands]
        self.band_convs = nn.ModuleList(spectrogram_convs(2, channels, weight_norm) for _ in bands)
        self.conv_post = weight_norm(nn.Conv2d(channels, 1, (3, 3), padding=(1, 1)))
        self.emb = condition_embedding(conditions, channels)

    def spectrogram(self, waveform: Tensor) -> Tensor:
        """(B, 1, T) -> real and imaginary parts (B, 2, frames, F)."""
        x = normalise_volume(waveform)[:, 0]
        spec = torch.stft(x, self.n_fft, self.n_fft // 4, window=self.window, return_complex=True)
        return torch.stack((spec.real, spec.imag), dim=1).transpose(2, 3)

    def forward(self, waveform: Tensor, condition: Tensor | None = None) -> DiscriminatorOutput:
        spec = self.spectrogram(waveform)
        features: list[Tensor] = []
        joined = []
        for (low, high), convs in zip(self.bands, self.band_convs, strict=True):
            band, (_, *later) = convolve(convs, spec[..., low:high])  # type: ignore[arg-type]
            features += later
            joined.append(band)
        x = torch.cat(joined, dim=-1)
        features.append(self.conv_post(x))
        return with_condition(features[-1], x, self.emb, condition), features


class MultiBandDiscriminator(Discriminator):
    """Three complex spectrograms in five bands each (1,413,990 parameters).

    Args:
        win_lengths: samples of each resolution's window; its hop is a quarter.
        channels: width.
        bands: edges as parts of the frequency axis.
        conditions: number of conditions the logits may depend on; 0 for none.
    """

    name = "multi-band"

    def __init__(
        self,
        win_lengths: tuple[int, ...] = (2048, 1024, 512),
        channels: int = 32,
        bands: tuple[tuple[float, float], ...] = BANDS,
        conditions: int = 0,
    ) -> None:
        super().__init__()
        self.discriminators = nn.ModuleList(
            BandDiscriminator(length, channels, bands, conditions) for length in win_lengths
        )

    def forward(
        self, waveform: Tensor, condition: Tensor | None = None, **conditions: Any
    ) -> list[DiscriminatorOutput]:
        return [discriminator(waveform, condition) for discriminator in self.discriminators]
