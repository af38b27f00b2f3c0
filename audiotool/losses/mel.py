"""L1 distances of mels: one definition (HiFi-GAN, Vocos), or many resolutions (BigVGAN-v2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch.nn.functional as F
from torch import Tensor, nn

from audiotool.configuration import Bands, Rate
from audiotool.dsp.mel import MelConfig
from audiotool.dsp.mel_spectrogram import MelSpectrogram
from audiotool.losses.base import Loss
from audiotool.value_types import Range

Window = Annotated[int, Range(ge=4, le=16_384)]
"""Kind: length of a window in samples, of which a quarter is a hop."""


def mel_distance(analysis: nn.Module, estimate: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute difference of the mels, by a `MelSpectrogram`, of two waveforms (B, C, T)."""
    return F.l1_loss(analysis(estimate.flatten(0, 1)), analysis(target.flatten(0, 1)))


class MelLoss(Loss):
    """Mean absolute difference of mels; 45 is the published weight.

    Args:
        mel: the definition: a preset's name or plain values. HiFi-GAN compares the full band
            ("hifigan-22k-full") although its input ends at 8 kHz.
        sample_rate: Hz of the waveforms, which must be that of the mel; None takes it for granted.
    Reference: Kong et al., HiFi-GAN, NeurIPS 2020, arXiv:2010.05646.
    """

    name = "mel"

    def __init__(self, mel: str | Mapping[str, Any], sample_rate: Rate | None = None) -> None:
        super().__init__()
        self.analysis = MelSpectrogram(mel)
        defined_at = self.analysis.config.sample_rate
        if sample_rate is not None and sample_rate != defined_at:
            raise ValueError(f"the mel is defined at {defined_at} Hz, audio.sample_rate is {sample_rate} Hz")

    def forward(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
        return mel_distance(self.analysis, outputs["estimate"], batch["target"])


class MultiScaleMelLoss(Loss):
    """Mean absolute differences of log10 mels, summed over window lengths; 15 is the published weight.

    Args:
        sample_rate: Hz.
        n_mels: bands at each scale.
        win_lengths: samples of each scale; the hop is a quarter.
    Reference: Kumar et al., Descript Audio Codec, NeurIPS 2023, arXiv:2306.06546; as BigVGAN-v2 uses it.
    """

    name = "multi-scale-mel"

    def __init__(
        self,
        sample_rate: Rate,
        n_mels: tuple[Bands, ...] = (5, 10, 20, 40, 80, 160, 320),
        win_lengths: tuple[Window, ...] = (32, 64, 128, 256, 512, 1024, 2048),
    ) -> None:
        super().__init__()
        if len(n_mels) != len(win_lengths):
            raise ValueError("n_mels and win_lengths must have one entry a scale")
        self.analyses = nn.ModuleList(
            MelSpectrogram(MelConfig(sample_rate, length, length // 4, bands, log="log10"))
            for bands, length in zip(n_mels, win_lengths, strict=True)
        )

    def forward(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
        estimate, target = outputs["estimate"], batch["target"]
        distances = [mel_distance(analysis, estimate, target) for analysis in self.analyses]
        return sum(distances[1:], start=distances[0])
