"""Real-time spectrogram inversion: the phases of a stream's frames from their mel, with a short look-ahead.

Griffin-Lim repeats synthesis and analysis over all frames, so each iteration that a stream computes costs a
frame of look-ahead. Here a few frames wait. Whenever one comes in, all of them are iterated together, with
the frames before them as they were given out, and the oldest is given out:

    given out   waiting
    … x x x  │  s s s s s s s  ◄── new frame, its phase continued from the frame before
             ▼
             x                     c[n] = STFT of the overlap-added frames
                                   t[n] = c[n] + momentum (c[n] - c of the iteration before)
                                   m[n] = freedom |t[n]| + (1 - freedom) magnitude[n], scaled to the mel
                                   s[n] = m[n] t[n] / |t[n]|

The look-ahead is that of the frames that wait. What was given out decides what follows, so that with more
iterations or a greater momentum streams that differ by rounding grow apart (docs/experiments.md). A good
first phase makes few iterations enough.

References: Zhu, Beauregard, Wyse, Real-time signal estimation from modified short-time Fourier transform
magnitude spectra, TASLP 2007; momentum from Perraudin, Balazs, Søndergaard, A fast Griffin-Lim algorithm,
WASPAA 2013. The continued phase and the mel in place of the magnitude are ours.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from audiotool.dsp.griffin_lim import TINY, bin_shares
from audiotool.dsp.windows import make_window

DECIMATION = 4
"""The iterations after the first work on the lowest bins alone, one in so many: their phases decide the
quality."""


class _Band(nn.Module):
    """The lowest `n_fft // 2 + 1` bins of the frames that wait.

    Args:
        n_fft, hop_length: samples of a frame and between frames, at the rate that these bins need.
        frames: number of frames that wait, the new one included.
        bank: filterbank of the mel, (F, n_mels); bands that reach above the bins are left out.
        freedom: part of the magnitudes that an iteration takes.
    """

    window: Tensor
    weight: Tensor
    bank: Tensor
    shares: Tensor

    def __init__(
        self, n_fft: int, hop_length: int, frames: int, bank: NDArray[np.float32], freedom: float
    ) -> None:
        super().__init__()
        self.n_fft, self.hop_length, self.frames = n_fft, hop_length, frames
        self.bins, self.freedom = n_fft // 2 + 1, freedom
        window = make_window("hann", n_fft)
        past = n_fft // hop_length - 1
        power = torch.zeros(past + frames + past, hop_length)
        for n in range(past + frames):
            power[n : n + past + 1] += window.square().reshape(-1, hop_length)
        power = power[past:].flatten().clamp(min=1e-2).unfold(0, n_fft, hop_length)
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("weight", window / power, persistent=False)
        # Bands ascend: the lowest lie below.
        bank = bank[: self.bins, : int((bank[self.bins :].sum(0) <= 0).sum())]
        self.register_buffer("bank", torch.from_numpy(bank.copy()), persistent=False)
        self.register_buffer("shares", torch.from_numpy(bin_shares(bank)), persistent=False)

    def segments(self, spec: Tensor) -> Tensor:
        """Synthesise frames (B, frames, F) into windowed segments (B, frames, n_fft)."""
        return torch.fft.irfft(spec, n=self.n_fft) * self.window

    def project(self, past: Tensor, spec: Tensor) -> Tensor:
        """Overlap-add the frames that wait to those before, and analyse: (B, frames, F) complex."""
        length = self.n_fft + (self.frames - 1) * self.hop_length
        # Rows one hop longer than the sums: read in rows as long as the sums, each begins a hop later.
        rows = F.pad(self.segments(spec), (0, self.frames * self.hop_length)).flatten(1)
        sums = rows[:, : self.frames * length].view(-1, self.frames, length).sum(1)
        sums = sums + F.pad(past, (0, length - past.shape[1]))
        return torch.fft.rfft(sums.unfold(1, self.n_fft, self.hop_length) * self.weight)

    def restore(self, target: Tensor, magnitude: Tensor, mel: Tensor) -> Tensor:
        """Return the target with magnitudes that have the given mel."""
        # Real and imaginary parts as a last axis: complex arithmetic with real factors takes twice as long.
        parts = torch.view_as_real(target)
        real, imaginary = parts.unbind(-1)
        length = (real * real + imaginary * imaginary).clamp(min=TINY**2).sqrt()
        mixed = torch.lerp(magnitude, length, self.freedom)
        gain = mel / (mixed @ self.bank).clamp(min=TINY)
        scale = mixed * (gain @ self.shares) / length
        return torch.view_as_complex(parts * scale[..., None])

    def give_out(self, past: Tensor, spec: Tensor) -> Tensor:
        """Add the oldest frame (B, 1, F) to the overlap-added segments of those before."""
        kept = F.pad(past[:, self.hop_length :], (0, self.hop_length))
        return kept + self.segments(spec)[:, 0, self.hop_length :]


class StreamingSpectrogramInversion(nn.Module):
    """Find the phases of a spec (B, F, T) that has a given mel, over chunks of any length.

    Args:
        n_fft, hop_length: samples, as the spec's.
        bank: filterbank of the mel, (F, n_mels).
        iterations: number of iterations for each frame that comes in.
        lookahead: frames after a frame that have come in when it is given out.
        momentum: of the iterations.
        freedom: part of the magnitudes that an iteration takes, 0 to 1.
    Raises:
        ValueError: the hop does not divide the frame, or `DECIMATION` does not divide the hop.

    State: (pasts, spec, magnitude, mel): of all bins and of the lowest the overlap-added segments of the
    frames given out; then the frames that wait, at most `lookahead`.
    """

    def __init__(
        self,
        n_fft: int,
        hop_length: int,
        bank: NDArray[np.float32],
        iterations: int,
        lookahead: int,
        momentum: float,
        freedom: float,
    ) -> None:
        super().__init__()
        if n_fft % hop_length or hop_length % DECIMATION:
            raise ValueError(
                f"frames of {n_fft} samples every {hop_length}: the hop must divide the frame, and"
                f" {DECIMATION} the hop"
            )
        self.iterations, self.lookahead, self.momentum = iterations, lookahead, momentum
        self.whole, self.low = (
            _Band(n_fft // n, hop_length // n, lookahead + 1, bank, freedom) for n in (1, DECIMATION)
        )

    def forward(
        self, spec: Tensor, mel: Tensor, rotation: Tensor, state: Any = None, final: bool = False
    ) -> tuple[Tensor, Any]:
        """Find the phases of complex (B, F, frames) -> (B, F, frames complete so far).

        Args:
            spec: magnitudes, and phases to begin with.
            mel: magnitudes of the mel (B, n_mels, frames), not their logarithms.
            rotation: complex (B, F, frames), by which phases advance from the frame before. Its absolute
                value is 1 where only that gives the first phase, and 0 where only `spec` does.
        """
        spec, mel, rotation = (x.transpose(1, 2) for x in (spec, mel, rotation))
        if final:
            spec, mel, rotation = (F.pad(x, (0, 0, 0, self.lookahead)) for x in (spec, mel, rotation))
        pasts, *waiting = self._start(spec, mel) if state is None else state
        magnitude = spec.abs()
        # Never nothing, because a stream's first frame has none before it.
        own = spec * ((1.001 - rotation.abs()) / magnitude.clamp(min=TINY))
        complete = [spec[:, :0]]
        for n in range(spec.shape[1]):
            here = slice(n, n + 1)
            last = F.pad(waiting[0], (0, 0, 1, 0))[:, -1:]
            first = own[:, here] + rotation[:, here] * (last / last.abs().clamp(min=TINY))
            first = first * (magnitude[:, here] / first.abs().clamp(min=TINY))
            new = (first, magnitude[:, here], mel[:, here])
            pasts, waiting, oldest = self._advance(pasts, waiting, new)
            complete.append(oldest)
        return torch.cat(complete, dim=1).transpose(1, 2), (pasts, *(x.clone() for x in waiting))

    def _start(self, spec: Tensor, mel: Tensor) -> tuple[Any, ...]:
        bands = (self.whole, self.low)
        pasts = [spec.real.new_zeros(len(spec), band.n_fft - band.hop_length) for band in bands]
        return pasts, spec[:, :0], spec[:, :0].real, mel[:, :0]

    def _advance(
        self, pasts: list[Tensor], waiting: list[Tensor], new: tuple[Tensor, Tensor, Tensor]
    ) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """Take in a frame (spec, magnitude, mel), iterate all that wait, and give the oldest out."""
        spec, magnitude, mel = (torch.cat(pair, dim=1) for pair in zip(waiting, new, strict=True))
        missing = self.lookahead + 1 - spec.shape[1]
        if missing:  # the stream begins
            spec, magnitude, mel = (F.pad(x, (0, 0, missing, 0)) for x in (spec, magnitude, mel))
        spec = self._iterate(pasts, spec, magnitude, mel)
        pasts = [
            band.give_out(past, spec[:, :1, : band.bins])
            for band, past in zip((self.whole, self.low), pasts, strict=True)
        ]
        first = max(missing, 1)
        return pasts, [x[:, first:] for x in (spec, magnitude, mel)], spec[:, missing:1]

    def _iterate(self, pasts: list[Tensor], spec: Tensor, magnitude: Tensor, mel: Tensor) -> Tensor:
        """Iterate all bins once, then the lowest."""
        whole, low = self.whole, self.low
        projected = whole.project(pasts[0], spec)
        spec = whole.restore(projected, magnitude, mel)
        lower, below = spec[..., : low.bins], projected[..., : low.bins]
        magnitude, mel = magnitude[..., : low.bins], mel[..., : low.bank.shape[1]]
        for _ in range(self.iterations - 1):
            before, below = below, low.project(pasts[1], lower)
            lower = low.restore(torch.lerp(before, below, 1 + self.momentum), magnitude, mel)
        return torch.cat((lower, spec[..., low.bins :]), dim=-1)
