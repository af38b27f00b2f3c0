"""Distance of log power spectra at several resolutions: the loss of the neural source-filter models."""

from __future__ import annotations

import torch
from torch import Tensor

from audiotool.configuration import Length, Positive
from audiotool.dsp.stft import power_spectrum
from audiotool.dsp.windows import make_window
from audiotool.losses.base import Loss


class LogPowerSpectrumLoss(Loss):
    """Sum over resolutions of mean (ln(|X|^2 + floor) - ln(|Y|^2 + floor))^2.

    Frames are Hann windows, centred, with zeros beyond the ends.

    Args:
        n_fft, hop_length, win_length: samples, one of each for a resolution; the defaults are the published
            three at 16 kHz.
        floor: power added before the logarithm.
    Reference: Wang, Takaki, Yamagishi, Neural Source-Filter Waveform Models for Statistical Parametric Speech
        Synthesis, TASLP 2020, arXiv:1904.12088.
    """

    name = "log-power-spectrum"

    def __init__(
        self,
        n_fft: tuple[Length, ...] = (512, 128, 2048),
        hop_length: tuple[Length, ...] = (80, 40, 640),
        win_length: tuple[Length, ...] = (320, 80, 1920),
        floor: Positive = 1e-5,
    ) -> None:
        super().__init__()
        if not len(n_fft) == len(hop_length) == len(win_length) > 0:
            raise ValueError("n_fft, hop_length and win_length must be lists of the same length")
        self.resolutions = list(zip(n_fft, hop_length, win_length, strict=True))
        for size, _, length in self.resolutions:
            make_window("hann", size, length)  # refuses a window beyond n_fft
        self.floor = floor

    def forward(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
        return self.terms(outputs["estimate"], batch["target"]).sum()

    def terms(self, estimate: Tensor, target: Tensor) -> Tensor:
        """Return the distance at each resolution: (..., T) twice -> (resolutions,)."""
        pairs = ((self._log_power(w, *sizes) for w in (estimate, target)) for sizes in self.resolutions)
        return torch.stack([(x - y).square().mean() for x, y in pairs])

    def _log_power(self, waveform: Tensor, n_fft: int, hop: int, win: int) -> Tensor:
        flat = waveform.reshape(-1, waveform.shape[-1])
        window = torch.hann_window(win, device=flat.device, dtype=flat.dtype)
        spec = torch.stft(flat, n_fft, hop, win, window, pad_mode="constant", return_complex=True)
        return (power_spectrum(spec) + self.floor).log()
