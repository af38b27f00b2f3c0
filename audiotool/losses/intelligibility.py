"""STOI between two waveforms, as a loss."""

from __future__ import annotations

import torch
from torch import Tensor

from audiotool.configuration import Rate
from audiotool.dsp.stft import power_spectrum, stft
from audiotool.losses.base import Loss

FRAME_S = 0.0256
"""A frame of the paper: 256 samples at 10 kHz, half overlapping."""
BANDS, LOWEST_HZ = 15, 150.0
"""Third-octave bands and the centre of the lowest."""
SEGMENT = 30
"""Frames over which envelopes are compared: 0.38 s."""
RANGE_DB = 40.0
"""Frames of the target this far below its loudest are pauses."""
LEAST_RATIO_DB = -15.0
"""Signal-to-distortion ratio at which an envelope is clipped (the paper's beta)."""
EPSILON = 1e-9
"""Added to the power of every band: silence has a gradient."""


class IntelligibilityLoss(Loss):
    """1 - STOI, 0 to 2: STOI correlates the envelopes of estimate and target in third-octave bands.

    Level and spectral tilt have no influence: use it together with a loss that measures them. STOI resamples
    to 10 kHz and removes pauses from the waveform. This loss uses frames of equal duration at the signals'
    own sample rate, and leaves out the frames of pauses. Pauses are found by the power in the bands alone, so
    that rumble does not count as speech. Examples with less than 0.38 s of sound do not count.

    Reference: Taal et al., An algorithm for intelligibility prediction of time-frequency weighted noisy
        speech, IEEE TASLP 2011, section II.

    Args:
        sample_rate: Hz, of the signals; above 6.8 kHz, where the highest band begins; it is whole from 8.6
            kHz on.
    Raises:
        ValueError: a band is empty at this sample rate.
    """

    name = "intelligibility"

    def __init__(self, sample_rate: Rate = 16000) -> None:
        super().__init__()
        self.win_length = round(FRAME_S * sample_rate)
        self.n_fft = 2 << self.win_length.bit_length()  # the lowest band is 35 Hz wide
        centres = LOWEST_HZ * 2.0 ** (torch.arange(BANDS) / 3)
        frequencies = torch.arange(self.n_fft // 2 + 1) * sample_rate / self.n_fft
        above = frequencies[:, None] >= centres * 2 ** (-1 / 6)
        below = frequencies[:, None] < centres * 2 ** (1 / 6)
        bands = (above & below).float()
        if not bands.any(0).all():
            raise ValueError(
                f"sample_rate is too low for the band at {centres[-1]:.0f} Hz, found {sample_rate}"
            )
        self.register_buffer("bands", bands, persistent=False)

    bands: Tensor

    def forward(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
        estimate, target = (w.flatten(0, 1) for w in (outputs["estimate"], batch["target"]))
        pairs = zip(self._envelopes(estimate), self._envelopes(target), strict=True)
        found = [self._correlation(e, t) for e, t in pairs if self._is_speech(t).sum() >= SEGMENT]
        return 1 - torch.stack(found).mean() if found else estimate.sum() * 0.0

    def _envelopes(self, waveform: Tensor) -> Tensor:
        """(B, T) -> magnitudes of the bands, (B, frames, bands)."""
        hop_length = self.win_length // 2
        spec = stft(waveform, self.n_fft, hop_length, self.win_length, center=False).transpose(1, 2)
        return (power_spectrum(spec) @ self.bands + EPSILON).sqrt()

    def _is_speech(self, target: Tensor) -> Tensor:
        """Envelopes (frames, bands) -> bool (frames,)."""
        power = target.square().sum(-1)
        return power > (power.max() * 10 ** (-RANGE_DB / 10)).clamp(min=2 * BANDS * EPSILON)

    def _correlation(self, estimate: Tensor, target: Tensor) -> Tensor:
        """Envelopes (frames, bands) twice -> the mean over bands and segments."""
        is_speech = self._is_speech(target)
        # (segments, bands, SEGMENT)
        estimate, target = (e[is_speech].unfold(0, SEGMENT, 1) for e in (estimate, target))
        gain = target.norm(dim=-1, keepdim=True) / estimate.norm(dim=-1, keepdim=True)
        clipped = torch.minimum(gain * estimate, (1 + 10 ** (-LEAST_RATIO_DB / 20)) * target)
        return torch.cosine_similarity(_centred(clipped), _centred(target), dim=-1).mean()


def _centred(envelope: Tensor) -> Tensor:
    """Return (..., SEGMENT) minus its mean."""
    return envelope - envelope.mean(dim=-1, keepdim=True)
