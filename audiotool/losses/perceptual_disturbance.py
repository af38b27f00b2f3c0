"""The disturbance of PESQ between two waveforms, as a loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from audiotool.configuration import Rate
from audiotool.dsp.stft import power_spectrum, stft
from audiotool.losses.base import Loss

SAMPLE_RATE = 16000
N_FFT, HOP_LENGTH = 512, 256
"""Samples at 16 kHz."""
ALIGNED_POWER = 1e7
"""Power to which both signals are scaled, between 325 and 3250 Hz."""
SPECTRUM_SCALE = 6.910853e-6
"""P.862's Sp at 16 kHz: from the power of a bin of the aligned signal to its perceptual scale."""
LOUDNESS_SCALE = 0.1866055
"""P.862's Sl at 16 kHz: to sone."""
ZWICKER_POWER = 0.23
# The tables of P.862 for its 49 bands at 16 kHz; density: a band's factor on the sum of its bins.
# fmt: off
BINS_OF_BAND = [
    1, 1, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2,
    3, 3, 3, 3, 4, 3, 4, 5, 4, 5, 6, 6, 7, 8, 9, 9, 12, 12, 15, 16, 18, 21, 25, 20,
]
BARK_OF_BAND = [
    0.157344, 0.317994, 0.322441, 0.326934, 0.331474, 0.336061, 0.340697, 0.345381, 0.350114, 0.354897,
    0.359729, 0.364611, 0.369544, 0.374529, 0.379565, 0.384653, 0.389794, 0.394989, 0.400236, 0.405538,
    0.410894, 0.416306, 0.421773, 0.427297, 0.432877, 0.438514, 0.444209, 0.449962, 0.455774, 0.461645,
    0.467577, 0.473569, 0.479621, 0.485736, 0.491912, 0.498151, 0.504454, 0.510819, 0.517250, 0.523745,
    0.530308, 0.536934, 0.543629, 0.550390, 0.557220, 0.564119, 0.571085, 0.578125, 0.585232,
]
DENSITY_OF_BAND = [
    100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 50.0, 100.0, 100.0, 100.0, 100.0, 100.0, 53.047,
    110.0, 117.992, 65.0, 68.76, 70.0, 71.429, 75.0, 76.843, 80.969, 88.646, 63.864, 68.155, 72.548, 75.585,
    58.379, 80.951, 64.136, 54.385, 73.822, 64.437, 59.176, 65.521, 61.4, 58.144, 57.005, 64.126, 54.311,
    61.115, 55.078, 56.849, 55.629, 53.137, 54.986, 79.547,
]
HEARING_THRESHOLD_OF_BAND = [
    51286152.0, 2454709.5, 70794.594, 4897.789, 1174.898, 389.045, 104.713, 45.709, 17.783, 9.772, 4.898,
    3.090, 1.905, 1.259, 0.977, 0.724, 0.562, 0.457, 0.389, 0.331, 0.295, 0.269, 0.257, 0.251, 0.251, 0.251,
    0.251, 0.263, 0.288, 0.309, 0.339, 0.372, 0.398, 0.437, 0.468, 0.490, 0.501, 0.501, 0.513, 0.525, 0.525,
    0.525, 0.513, 0.479, 0.427, 0.372, 0.363, 0.417, 0.537,
]
# fmt: on
PRE_EMPHASIS = ((2.740826, -5.4816519, 2.740826), (1.0, -1.9444777, 0.94597794))
"""Numerator and denominator of the wide-band input filter (P.862.2)."""


class PerceptualDisturbanceLoss(Loss):
    """The points that PESQ subtracts from an estimate: 0.1 d + 0.0309 d_asymmetric.

    Both power spectra are converted to loudness in Bark bands (Zwicker). Differences of more than a quarter
    of the smaller loudness are a disturbance. Added loudness counts more (asymmetry), and the worst stretches
    of 0.3 s dominate (a mean of sixth powers). As in PESQ, level, spectral tilt and slow gain have little
    influence: use it together with a loss that measures them. PESQ's time alignment is left out; its filters
    are applied to the spectrum. PESQ is for 16 kHz: of signals at a multiple of that, what lies above 8 kHz
    has no influence.

    Args:
        sample_rate: Hz, of the signals.

    Reference: ITU-T P.862 (2001) and P.862.2 (2007), tables of the reference implementation; as a loss:
        Martín-Doñas et al., A deep learning loss function based on the perceptual evaluation of the speech
        quality, IEEE SPL 2018.
    """

    name = "perceptual-disturbance"

    def __init__(self, sample_rate: Rate = SAMPLE_RATE) -> None:
        super().__init__()
        if sample_rate % SAMPLE_RATE:
            raise ValueError(f"sample_rate is a multiple of {SAMPLE_RATE}, found {sample_rate}")
        # Frames as long as at 16 kHz have the same first bins.
        self.factor = sample_rate // SAMPLE_RATE
        bark, bins = torch.tensor(BARK_OF_BAND), torch.tensor(BINS_OF_BAND)
        band = torch.arange(len(bins)).repeat_interleave(bins)
        frequencies = torch.arange(N_FFT // 2) * SAMPLE_RATE / N_FFT
        z = torch.exp(-2j * torch.pi * frequencies / SAMPLE_RATE)
        numerator, denominator = (sum(c * z**n for n, c in enumerate(side)) for side in PRE_EMPHASIS)
        response = (numerator / denominator).abs().square()  # type: ignore[union-attr]
        response[0] = 0.0
        bands = torch.zeros(N_FFT // 2, len(bins))
        bands[torch.arange(len(band)), band] = 1.0
        bands *= SPECTRUM_SCALE * torch.tensor(DENSITY_OF_BAND) * response[: len(band), None]
        self.register_buffer("bands", bands, persistent=False)
        self.register_buffer(
            "speech", ((frequencies >= 325) & (frequencies <= 3250)).float(), persistent=False
        )
        self.register_buffer("threshold", torch.tensor(HEARING_THRESHOLD_OF_BAND), persistent=False)
        centres = bark.cumsum(0) - bark / 2
        exponent = ZWICKER_POWER * (6 / (centres + 2)).clamp(1.0, 2.0) ** 0.15
        self.register_buffer("exponent", exponent, persistent=False)
        self.register_buffer("bark", bark[1:], persistent=False)  # band 0 is not audible

    bands: Tensor
    speech: Tensor
    threshold: Tensor
    exponent: Tensor
    bark: Tensor

    def forward(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
        estimate, target = (w.flatten(0, 1) for w in (outputs["estimate"], batch["target"]))
        audible = target.square().mean(1) > 1e-7
        if not audible.any():
            return estimate.sum() * 0.0
        return self.points(estimate[audible], target[audible]).mean()

    def points(self, estimate: Tensor, target: Tensor) -> Tensor:
        """Waveforms (B, T) twice -> (B,), 0 if they are equal."""
        powers, reference = self._band_powers(estimate), self._band_powers(target)
        # The target gets the estimate's mean tilt, and then the estimate the target's gain in every frame.
        loud = self._audible(reference, 100.0) >= 1e7
        tilt = (self._mean(powers, loud) + 1000) / (self._mean(reference, loud) + 1000)
        reference = tilt.clamp(0.01, 100.0)[:, None] * reference
        gain = (self._audible(reference, 1.0) + 5e3) / (self._audible(powers, 1.0) + 5e3)
        gain = torch.cat((gain[:, :1], 0.8 * gain[:, 1:] + 0.2 * gain[:, :-1]), dim=1)
        powers = gain.clamp(3e-4, 5.0)[..., None] * powers

        loudness, target_loudness = self._loudness(powers), self._loudness(reference)
        difference = loudness - target_loudness
        masked = 0.25 * torch.minimum(loudness, target_loudness)
        disturbance = difference.sign() * (difference.abs() - masked).clamp(min=0.0)
        added = ((powers + 50.0) / (reference + 50.0)) ** 1.2
        added = torch.where(added < 3.0, 0.0, added.clamp(max=12.0))

        audible = disturbance[..., 1:]
        weight = ((self._audible(reference, 1.0) + 1e5) / 1e7) ** -0.04
        plain = (self.bark.sum() * (self.bark * audible).square().sum(-1) + 1e-12).sqrt()
        asymmetric = (self.bark * audible * added[..., 1:]).abs().sum(-1)
        return 0.1 * self._over_time(plain * weight) + 0.0309 * self._over_time(asymmetric * weight)

    def _band_powers(self, waveform: Tensor) -> Tensor:
        """(B, T) -> powers (B, frames, bands) of the levelled, pre-emphasised signal."""
        n_fft, hop_length = self.factor * N_FFT, self.factor * HOP_LENGTH
        # As in PESQ, silence lies around a recording: its first and last samples count as any others.
        waveform = F.pad(waveform, (hop_length, hop_length))
        spec = stft(waveform, n_fft, hop_length, window="hann", center=False)[:, : N_FFT // 2].transpose(1, 2)
        power = power_spectrum(spec) / self.factor**2
        level = 2 * (power * self.speech).sum(-1).mean(1) / (0.375 * N_FFT**2)
        return power * (ALIGNED_POWER / (level + 1e-12))[:, None, None] @ self.bands

    def _audible(self, powers: Tensor, factor: float) -> Tensor:
        """Return the sum over bands of the power above `factor` times the threshold of hearing, (B,
        frames)."""
        return (powers * (powers > factor * self.threshold))[..., 1:].sum(-1)

    def _mean(self, powers: Tensor, frames: Tensor) -> Tensor:
        """Return the mean over time of the well audible power in `frames`, (B, bands)."""
        return (powers * (powers > 100 * self.threshold) * frames[..., None]).mean(1)

    def _loudness(self, powers: Tensor) -> Tensor:
        """Return the loudness of powers (B, frames, bands) by Zwicker's law; 0 below the threshold of
        hearing."""
        relative = (0.5 + 0.5 * powers / self.threshold) ** self.exponent - 1
        scale = LOUDNESS_SCALE * (2 * self.threshold) ** self.exponent
        return scale * torch.where(powers < self.threshold, 0.0, relative)

    def _over_time(self, disturbance: Tensor) -> Tensor:
        """Return the root mean square of the sixth-power means of 20 frames, half overlapping: (B, frames) ->
        (B,)."""
        moments = disturbance.clamp(1e-3, 45.0).unfold(1, min(20, disturbance.shape[1]), 10)
        return moments.pow(6).mean(-1).pow(1 / 3).mean(-1).sqrt()
