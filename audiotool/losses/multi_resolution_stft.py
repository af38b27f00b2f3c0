"""Multi-resolution STFT loss: spectral convergence and log magnitude over several frame sizes.

For magnitudes Y of the target and X of the estimate, with ||.|| the Frobenius norm over the whole batch:

    spectral convergence = ||Y - X|| / ||Y||        log magnitude = mean |ln Y - ln X|

Yamamoto et al., Parallel WaveGAN, ICASSP 2020, arXiv:1910.11480; Kong et al., CleanUNet, ICASSP 2022,
arXiv:2202.07790.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from audiotool.configuration import Length
from audiotool.dsp.stft import power_spectrum, stft
from audiotool.dsp.windows import make_window
from audiotool.losses.base import Loss

POWER_FLOOR = 1e-7

Band = Literal["full", "high-published", "high"]


class MultiResolutionSTFTLoss(Loss):
    """Spectral convergence plus log magnitude, averaged over the resolutions.

    The defaults are Parallel WaveGAN's; CleanUNet's are both weights 0.5 (its hop, window and FFT sizes are
    the same three).

    Args:
        n_fft, hop_length, win_length: samples, one of each for a resolution.
        spectral_convergence: weight of that term.
        log_magnitude: weight of that term.
        band: "full" uses everything. "high" uses the upper half of the frequencies, as CleanUNet describes
            its high-band loss. "high-published" is what CleanUNet's code does instead, and what its published
            high-band network was trained with: the second half of the frames, all frequencies.
        window: of the frames.
    """

    name = "multi-resolution-stft"

    def __init__(
        self,
        n_fft: tuple[Length, ...] = (512, 1024, 2048),
        hop_length: tuple[Length, ...] = (50, 120, 240),
        win_length: tuple[Length, ...] = (240, 600, 1200),
        spectral_convergence: float = 1.0,
        log_magnitude: float = 1.0,
        band: Band = "full",
        window: str = "hann",
    ) -> None:
        super().__init__()
        if not len(n_fft) == len(hop_length) == len(win_length) > 0:
            raise ValueError("n_fft, hop_length and win_length must be lists of the same length")
        if band not in ("full", "high", "high-published"):
            raise ValueError(f"band is full, high or high-published, found {band!r}")
        self.resolutions = list(zip(n_fft, hop_length, win_length, strict=True))
        for size, _, length in self.resolutions:
            make_window(window, size, length)  # refuses unknown windows, and one beyond n_fft
        self.spectral_convergence = spectral_convergence
        self.log_magnitude = log_magnitude
        self.band = band
        self.window = window

    def forward(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
        convergence, magnitude = self.terms(outputs["estimate"], batch["target"]).mean(0)
        return self.spectral_convergence * convergence + self.log_magnitude * magnitude

    def terms(self, estimate: Tensor, target: Tensor) -> Tensor:
        """Return both terms without weights: (..., T) twice -> (resolutions, 2)."""
        return torch.stack([self._resolution(estimate, target, *sizes) for sizes in self.resolutions])

    def _resolution(self, estimate: Tensor, target: Tensor, n_fft: int, hop: int, win: int) -> Tensor:
        x, y = (self._magnitude(w, n_fft, hop, win) for w in (estimate, target))
        # A silent target has only the floor's power: no division by zero.
        convergence = torch.linalg.vector_norm(y - x) / torch.linalg.vector_norm(y)
        return torch.stack((convergence, nn.functional.l1_loss(x.log(), y.log())))

    def _magnitude(self, waveform: Tensor, n_fft: int, hop: int, win: int) -> Tensor:
        """(..., T) -> the part of (..., F, frames) that the band asks for."""
        spec = stft(waveform, n_fft, hop, win, self.window)
        if self.band == "high":
            spec = spec[..., spec.shape[-2] // 2 :, :]
        elif self.band == "high-published":
            spec = spec[..., spec.shape[-1] // 2 :]
        return power_spectrum(spec).clamp(min=POWER_FLOOR).sqrt()
