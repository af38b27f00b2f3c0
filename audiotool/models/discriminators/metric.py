"""The metric discriminator, which learns to predict a quality score that a model then maximises.

Fu et al.: MetricGAN, ICML 2019, arXiv:1905.04874; in this form from CMGAN (Cao et al., Interspeech 2022,
arXiv:2203.15149), as MP-SENet and MambAttention use it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from audiotool.dsp.magnitude_phase import MagnitudePhase
from audiotool.models.discriminators.base import Discriminator, DiscriminatorOutput
from audiotool.models.layers.dense import LearnableSigmoid


class MetricDiscriminator(Discriminator):
    """Score a signal against its reference from both compressed magnitudes (181,650 parameters).

    The score is in 0 to 1 and stands for (PESQ - 1) / 3.5; a perfect signal's is 1.

    Args:
        channels: of the first convolution, doubled at each of three more.
        n_fft, hop_length, win_length: samples.
        compress_factor: exponent of the magnitudes.
        power_offset: see `MagnitudePhase`.
    """

    name = "metric"

    def __init__(
        self,
        channels: int = 16,
        n_fft: int = 400,
        hop_length: int = 100,
        win_length: int = 400,
        compress_factor: float = 0.3,
        power_offset: float = 1e-9,
    ) -> None:
        super().__init__()
        self.transform = MagnitudePhase(n_fft, hop_length, win_length, compress_factor, power_offset)
        norm = parametrizations.spectral_norm
        layers: list[nn.Module] = []
        inner = 2
        for width in (channels, 2 * channels, 4 * channels, 8 * channels):
            convolution = norm(nn.Conv2d(inner, width, 4, stride=2, padding=1, bias=False))
            layers += [convolution, nn.InstanceNorm2d(width, affine=True), nn.PReLU(width)]
            inner = width
        layers += [
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
            norm(nn.Linear(inner, inner // 2)),
            nn.Dropout(0.3),
            nn.PReLU(inner // 2),
            norm(nn.Linear(inner // 2, 1)),
            LearnableSigmoid((1,), beta=1.0),
        ]
        self.layers = nn.Sequential(*layers)

    def forward(self, waveform: Tensor, **conditions: Any) -> list[DiscriminatorOutput]:
        """Score waveforms (B, 1, T) against `reference=` waveforms of the same shape.

        Returns:
            A list of one (scores (B, 1), features).
        Raises:
            ValueError: no reference was given.
        """
        reference = conditions.get("reference")
        if reference is None:
            raise ValueError("the metric discriminator compares a waveform with reference=")
        mags = [self.transform.analyse(x[:, 0])[0] for x in (reference, waveform)]
        x = torch.stack(mags, dim=1)
        features = []
        for layer in self.layers:
            x = layer(x)
            if isinstance(layer, nn.PReLU):
                features.append(x)
        return [(x, features)]

    def score(self, reference: Tensor, mag: Tensor) -> Tensor:
        """Score compressed magnitudes (B, F, T) against their references: (B, 1)."""
        return self.layers(torch.stack((reference, mag), dim=1))
