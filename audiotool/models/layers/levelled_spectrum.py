"""The front end of audiotool's spectral models: a causal STFT, divided by a running level."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiotool.dsp.stft import StreamingSTFT, power_spectrum
from audiotool.models.base import State
from audiotool.models.layers.level import RunningLevel

FLOOR = 1e-4
"""Added to every level (-80 dB of full scale) unless a model has its own, so that silence stays silent."""


class LevelledSpectrum(nn.Module):
    """Waveform (B, T) to spec (B, F, frames) and levels (B, 1, frames), over chunks of any length.

    Args:
        n_fft, hop_length: samples; the window is the square root of a Hann.
        level_seconds: time constant of the level.
        sample_rate: Hz.
        floor: added to every level.

    State: the STFT's, the level's, and the samples of the hop that is not complete, if any.
    """

    def __init__(
        self, n_fft: int, hop_length: int, level_seconds: float, sample_rate: int, floor: float = FLOOR
    ) -> None:
        super().__init__()
        self.floor = floor
        self.n_fft = n_fft
        self.hop_length = hop_length
        self.stft = StreamingSTFT(n_fft, hop_length, window="sqrt_hann")
        self.level = RunningLevel(hop_length, level_seconds * sample_rate / hop_length)

    def forward(
        self, x: Tensor, state: State = None, final: bool = False
    ) -> tuple[tuple[Tensor, Tensor], State]:
        stft_state, level_state, waiting = state or (None, None, None)
        spec, stft_state = self.stft(x, stft_state, final)
        x, waiting = whole_hops(x, waiting, self.n_fft, self.hop_length, final)
        levels, level_state = self.level(x.unsqueeze(1), level_state)
        return (spec, levels + self.floor), (stft_state, level_state, waiting)


def whole_hops(
    x: Tensor, waiting: Tensor | None, n_fft: int, hop_length: int, final: bool
) -> tuple[Tensor, Tensor | None]:
    """Return the whole hops of samples (B, T), and the samples of the hop that is not complete, if any.

    With `final`, the frames that begin before the end are completed with zeros, as by the STFT.

    Args:
        waiting: samples of the hop that was not complete before.
    """
    if waiting is not None:
        x = torch.cat((waiting, x), dim=-1)
    if final:
        x = F.pad(x, (0, n_fft - hop_length))
        x = F.pad(x, (0, -x.shape[-1] % hop_length))
    whole = x.shape[-1] // hop_length * hop_length
    return x[..., :whole], x[..., whole:].clone() if whole < x.shape[-1] else None


def compressed(spec: Tensor, exponent: float) -> Tensor:
    """Raise the magnitudes of complex (B, F, T) to a power; return real and imaginary parts (B, 2F, T)."""
    gain = (power_spectrum(spec) + 1e-8).pow((exponent - 1) / 2)
    return torch.cat((spec.real * gain, spec.imag * gain), dim=1)
