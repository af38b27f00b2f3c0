"""Fundamental frequency by YIN: the first lag at which a frame nearly repeats itself.

With d(τ) the mean of (x[t] - x[t + τ])² over a frame, YIN divides d(τ) by the mean of d(1) … d(τ); the first
dip of that below a threshold is the period. Depths near 1 mean noise.

The mean is weighted by w[t] w[t + τ], where w is half a period of a sine, so that the middle of what is
compared is the frame's at every lag. Published YIN's windows begin at one sample for all lags, and there the
middle depends on the period.

Reference: de Cheveigné and Kawahara, YIN, a fundamental frequency estimator for speech and music, JASA 2002.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

DIP = 0.15
"""The first dip below this is the period; without one, the deepest dip is."""

VOICED = 0.3
"""Frames whose deepest dip is above this are unvoiced."""

SILENCE_RMS = 1e-4


def fundamental_frequency(
    waveform: Tensor,
    sample_rate: int,
    hop_length: int,
    fmin: float = 60.0,
    fmax: float = 500.0,
    frames_at_once: int = 500,
) -> Tensor:
    """Return F0 in Hz, 0 where a frame is unvoiced or silent.

    Args:
        waveform: (B, T) float.
        sample_rate: Hz.
        hop_length: samples between frames; frame n is centred on sample n * hop_length.
        fmin, fmax: Hz, the range searched.
        frames_at_once: frames analysed together; bounds the memory.
    Returns:
        (B, T // hop_length + 1).
    """
    return PitchTracker(sample_rate, hop_length, fmin, fmax, frames_at_once).step(waveform, final=True)[0]


class PitchTracker:
    """Estimate F0 of a stream over chunks of any length; arguments are those of `fundamental_frequency`.

    Attributes:
        history, lookahead: number of samples before and after n * hop_length on which frame n depends.
    """

    def __init__(
        self,
        sample_rate: int,
        hop_length: int,
        fmin: float = 60.0,
        fmax: float = 500.0,
        frames_at_once: int = 500,
    ) -> None:
        self.sample_rate = sample_rate
        self.hop_length = hop_length
        self.frames_at_once = frames_at_once
        # The deepest lag of fmin may be the one after its period; a dip has a neighbour on each side.
        self.shortest, self.longest = max(2, int(sample_rate / fmax)), math.ceil(sample_rate / fmin) + 1
        self.span = 2 * self.longest + 1
        self.history = self.span // 2
        self.lookahead = self.span - 1 - self.history
        self._difference = _Difference(self.span, self.longest)

    def step(self, waveform: Tensor, state: Any = None, final: bool = False) -> tuple[Tensor, Any]:
        """Consume (B, T) for any T >= 0 and return the frames that are complete.

        Returns:
            (B, frames) in Hz, 0 where unvoiced, and the state: (samples from the next frame's first one on,
            samples so far, frames so far). Over a stream of T samples there are T // hop_length + 1 frames.
        """
        if state is None:
            state = (waveform.new_zeros(waveform.shape[0], self.history), 0, 0)
        held, length, emitted = state
        length += waveform.shape[-1]
        x = torch.cat((held, waveform), dim=-1)
        if final:
            count = length // self.hop_length + 1 - emitted
            x = F.pad(x, (0, max(0, (count - 1) * self.hop_length + self.span - x.shape[-1])))
        else:
            # The next frame may begin after the samples received so far if hops are longer than frames.
            count = max(0, (x.shape[-1] - self.span) // self.hop_length + 1)
            count = min(count, x.shape[-1] // self.hop_length)
        if count == 0:
            return x.new_zeros(x.shape[0], 0), (x, length, emitted)
        frames = x.unfold(-1, self.span, self.hop_length)[:, :count]
        parts = [
            _yin(part, self._difference, self.shortest, self.longest, self.sample_rate)
            for part in frames.split(self.frames_at_once, dim=1)
        ]
        held = x[:, count * self.hop_length :].clone()
        return torch.cat(parts, dim=1), (held, length, emitted + count)


class _Difference:
    """d(0) … d(longest), (B, N, longest + 1), of frames (B, N, span)."""

    def __init__(self, span: int, longest: int) -> None:
        self.lags = longest + 1
        self.size = 1 << (span + longest - 1).bit_length()
        self.window = torch.sin(torch.arange(1, span + 1) * (torch.pi / (span + 1)))
        spectrum = torch.fft.rfft(self.window, self.size)
        self.spectrum = torch.stack((spectrum.real, spectrum.imag))
        self.scale = 2 / torch.fft.irfft(spectrum.abs().square(), self.size)[: self.lags]

    def __call__(self, frames: Tensor) -> Tensor:
        windowed = self.window.to(frames) * frames
        energy, product = (torch.fft.rfft(x, self.size) for x in (windowed * frames, windowed))
        # The means of x[t]² and x[t + τ]² have conjugate spectra: their sum is twice a real part.
        real, imag = self.spectrum.to(frames)
        spectrum = real * energy.real + imag * energy.imag
        spectrum = spectrum - product.real.square() - product.imag.square()
        total = torch.fft.irfft(spectrum, self.size)[..., : self.lags]
        return (total * self.scale.to(frames)).clamp(min=0)


def _yin(frames: Tensor, difference_of: _Difference, shortest: int, longest: int, sample_rate: int) -> Tensor:
    """Estimate F0 in Hz (B, N) of frames (B, N, span); 0 where unvoiced."""
    frames = frames - frames.mean(-1, keepdim=True)
    difference = difference_of(frames)
    lags = torch.arange(1, longest + 1, device=frames.device)
    mean = difference[..., 1:].cumsum(-1) / lags
    depth = F.pad(difference[..., 1:] / mean.clamp(min=1e-12), (1, 0), value=1.0)

    searched = depth[..., shortest:longest]
    is_dip = (searched <= depth[..., shortest - 1 : longest - 1]) & (
        searched <= depth[..., shortest + 1 : longest + 1]
    )
    first = (is_dip & (searched < DIP)).float()
    deepest = torch.where(is_dip, searched, 2.0).argmin(-1)
    lag = torch.where(first.any(-1), first.argmax(-1), deepest) + shortest

    # The vertex of the parabola through the dip and its neighbours is the period between samples.
    left, here, right = (depth.gather(-1, (lag + n)[..., None])[..., 0] for n in (-1, 0, 1))
    curve = left + right - 2 * here
    offset = torch.where(curve > 0, (left - right) / (2 * curve.clamp(min=1e-12)), 0.0).clamp(-0.5, 0.5)
    voiced = (here < VOICED) & (frames.square().mean(-1).sqrt() > SILENCE_RMS)
    return torch.where(voiced, sample_rate / (lag + offset), 0.0)
