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
from audiotool.dsp.loop import loop
from audiotool.dsp.windows import make_window

DECIMATION = 4
"""The iterations after the first work on the lowest bins alone, one in so many: their phases decide the
quality."""


class _Band(nn.Module):
    """The lowest `n_fft // 2 + 1` bins of the frames that wait.

    Specs are their real and imaginary parts (B, frames, F, 2), because a graph has no complex numbers.
    Samples are rows of one hop (B, rows, hop): to overlap-add frames, or to cut them, is a product with a
    matrix of zeros and ones, one operator for arrays this small.

    Args:
        n_fft, hop_length: samples of a frame and between frames, at the rate that these bins need.
        frames: number of frames that wait, the new one included.
        bank: filterbank of the mel, (F, n_mels); bands that reach above the bins are left out.
        freedom: part of the magnitudes that an iteration takes.
    """

    window: Tensor
    overlap: Tensor
    bank: Tensor
    shares: Tensor

    def __init__(
        self, n_fft: int, hop_length: int, frames: int, bank: NDArray[np.float32], freedom: float
    ) -> None:
        super().__init__()
        self.n_fft, self.hop_length, self.frames = n_fft, hop_length, frames
        self.bins, self.freedom = n_fft // 2 + 1, freedom
        hops = n_fft // hop_length
        self.register_buffer("window", make_window("hann", n_fft), persistent=False)
        # Hop b of frame n lies in row n + b.
        rows = (torch.arange(frames)[:, None] + torch.arange(hops)).flatten()
        overlap = (torch.arange(frames + hops - 1)[:, None] == rows).float()
        self.register_buffer("overlap", overlap, persistent=False)
        # Bands ascend: the lowest lie below.
        bank = bank[: self.bins, : int((bank[self.bins :].sum(0) <= 0).sum())]
        self.register_buffer("bank", torch.from_numpy(bank.copy()), persistent=False)
        self.register_buffer("shares", torch.from_numpy(bin_shares(bank)), persistent=False)

    def synthesise(self, spec: Tensor) -> Tensor:
        """Transform frames (B, frames, F, 2) to windowed segments (B, frames, n_fft)."""
        return torch.fft.irfft(torch.view_as_complex(spec), n=self.n_fft) * self.window

    def analyse(self, segments: Tensor) -> Tensor:
        """Transform segments (B, frames, n_fft) to frames (B, frames, F, 2), windowed."""
        return torch.view_as_real(torch.fft.rfft(segments * self.window))

    def project(self, past: Tensor, spec: Tensor, power: Tensor) -> Tensor:
        """Overlap-add the frames that wait to those before, and analyse: (B, frames, F, 2).

        Args:
            past: segments of the frames before, padded to all rows (B, rows, hop).
            power: of the windows in each sample, (B, rows, hop).
        """
        hops = self.synthesise(spec).reshape(-1, self.overlap.shape[1], self.hop_length)
        overlap, cut = (matrix.expand(spec.shape[0], -1, -1) for matrix in (self.overlap, self.overlap.mT))
        sums = torch.baddbmm(past, overlap, hops) / power
        return self.analyse(torch.bmm(cut, sums).reshape(-1, self.frames, self.n_fft))

    def restore(self, target: Tensor, magnitude: Tensor, mel: Tensor) -> Tensor:
        """Return the target with magnitudes that have the given mel.

        Args:
            magnitude: (B, frames, F), of which `freedom` leaves a part.
            mel: (B, frames, n_mels).
        """
        length = _absolute(target)
        mixed = torch.add(magnitude, length, alpha=self.freedom)
        gain = mel / (mixed @ self.bank).clamp(min=TINY)
        return target * (mixed * (gain @ self.shares) / length)[..., None]

    def give_out(self, past: Tensor, spec: Tensor) -> Tensor:
        """Add the oldest frame (B, 1, F, 2) to the overlap-added segments (B, rows, hop) of those before."""
        return _advanced(past, self.synthesise(spec).reshape(-1, past.shape[1] + 1, self.hop_length))


class _LowBand(_Band):
    """A band so small that in a graph each of its transforms is one product with a matrix."""

    synthesis: Tensor
    analysis: Tensor

    def __init__(
        self, n_fft: int, hop_length: int, frames: int, bank: NDArray[np.float32], freedom: float
    ) -> None:
        super().__init__(n_fft, hop_length, frames, bank, freedom)
        every = torch.eye(2 * self.bins).unflatten(1, (self.bins, 2))[None]
        self.register_buffer("synthesis", super().synthesise(every)[0], persistent=False)
        analysis = super().analyse(torch.eye(n_fft)[None])[0].flatten(1)
        self.register_buffer("analysis", analysis, persistent=False)

    def synthesise(self, spec: Tensor) -> Tensor:
        if torch.compiler.is_exporting():
            return spec.flatten(2) @ self.synthesis
        return super().synthesise(spec)

    def analyse(self, segments: Tensor) -> Tensor:
        if torch.compiler.is_exporting():
            return (segments @ self.analysis).unflatten(2, (self.bins, 2))
        return super().analyse(segments)


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

    State: of the frames given out the overlap-added segments, of all bins and of the lowest, and the
    overlap-added squares of their windows; spec, magnitude and mel of the last `lookahead + 1` frames; and
    the number of frames that are still to be dropped, because a stream begins with frames outside it.
    """

    coverage: Tensor

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
        sizes = n_fft // DECIMATION, hop_length // DECIMATION
        self.whole = _Band(n_fft, hop_length, lookahead + 1, bank, freedom)
        self.low = _LowBand(*sizes, lookahead + 1, bank, freedom)
        self.past = n_fft // hop_length - 1
        coverage = torch.zeros(lookahead + 1, lookahead + 1 + self.past, hop_length)
        for n, rows in enumerate(coverage):
            rows[n : n + self.past + 1] = self.whole.window.square().view(-1, hop_length)
        self.register_buffer("coverage", coverage, persistent=False)

    def forward(
        self, spec: Tensor, mel: Tensor, rotation: Tensor, state: Any = None, final: bool = False
    ) -> tuple[Tensor, Any]:
        """Find the phases of complex (B, F, frames) -> (B, F, frames complete so far).

        Args:
            spec: magnitudes, and phases to begin with. A frame of zeros alone is outside the stream.
            mel: magnitudes of the mel (B, n_mels, frames), not their logarithms.
            rotation: complex (B, F, frames), by which phases advance from the frame before. Its absolute
                value is 1 where only that gives the first phase, and 0 where only `spec` does.
        """
        spec, mel, rotation = (x.transpose(1, 2) for x in (spec, mel, rotation))
        if final:
            spec, mel, rotation = (F.pad(x, (0, 0, 0, self.lookahead)) for x in (spec, mel, rotation))
        *held, dropped = self._start(spec, mel) if state is None else state
        magnitude = spec.abs()
        # Never nothing, because a stream's first frame has none before it.
        own = spec * ((1.001 - rotation.abs()) / magnitude.clamp(min=TINY))
        parts = torch.view_as_real(own), torch.view_as_real(rotation)
        complete, held = loop(self._advance, held, (*parts, magnitude, mel))
        if dropped:
            before, complete = complete.shape[1], complete[:, dropped:]
            dropped -= before - complete.shape[1]
        return torch.view_as_complex(complete).transpose(1, 2), (*held, dropped)

    def _start(self, spec: Tensor, mel: Tensor) -> tuple[Any, ...]:
        """Return the state before a stream: frames outside it wait."""
        waiting = mel.new_zeros(len(mel), self.lookahead + 1, spec.shape[-1], 2)
        mels = mel.new_zeros(len(mel), self.lookahead + 1, mel.shape[-1])
        whole, squares, low = (
            mel.new_zeros(len(mel), self.past, band.hop_length) for band in (self.whole, self.whole, self.low)
        )
        return whole, low, squares, waiting, waiting[..., 0].clone(), mels, self.lookahead

    def _advance(self, held: list[Tensor], frame: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Take in a frame (own, rotation, magnitude, mel), iterate all that wait, and give the oldest out."""
        whole, low, squares, *waiting = held
        own, rotation, magnitude, mel = frame
        first = _scaled(own + _turned(_scaled(waiting[0][:, -1:]), rotation), magnitude)
        spec, magnitude, mel = (
            torch.cat((before[:, 1:], new), dim=1)
            for before, new in zip(waiting, (first, magnitude, mel), strict=True)
        )
        present = (magnitude.amax(-1) > 0).to(magnitude.dtype)
        windows = (present @ self.coverage.flatten(1)).unflatten(1, self.coverage.shape[1:])
        power = (windows + self._padded(squares)).clamp(min=1e-2)
        spec, lower = self._iterate((whole, low), power, spec, magnitude, mel)
        whole, low = self.whole.give_out(whole, spec[:, :1]), self.low.give_out(low, lower[:, :1])
        squares = _advanced(squares, present[:, :1, None] * self.coverage[0, : self.past + 1])
        return spec[:, :1], [whole, low, squares, spec, magnitude, mel]

    def _iterate(
        self, pasts: tuple[Tensor, Tensor], power: Tensor, spec: Tensor, magnitude: Tensor, mel: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Iterate all bins once, then the lowest; return the spec, and its lowest bins."""
        whole, low = self.whole, self.low
        before_whole, before_low = (self._padded(past) for past in pasts)
        kept = (1 - whole.freedom) * magnitude
        projected = whole.project(before_whole, spec, power)
        spec = whole.restore(projected, kept, mel)
        lower, below = spec[:, :, : low.bins], projected[:, :, : low.bins]
        kept, mel, power = kept[..., : low.bins], mel[..., : low.bank.shape[1]], power[..., ::DECIMATION]
        for _ in range(self.iterations - 1):
            before, below = below, low.project(before_low, lower, power)
            lower = low.restore(torch.lerp(before, below, 1 + self.momentum), kept, mel)
        return torch.cat((lower, spec[:, :, low.bins :]), dim=2), lower

    def _padded(self, past: Tensor) -> Tensor:
        """Append a row for each frame that waits."""
        return F.pad(past, (0, 0, 0, self.lookahead + 1))


def _advanced(past: Tensor, hops: Tensor) -> Tensor:
    """Add the hops of a frame (B, rows + 1, hop) to those before (B, rows, hop), and go on by one."""
    return F.pad(past[:, 1:], (0, 0, 0, 1)) + hops[:, 1:]


def _absolute(parts: Tensor) -> Tensor:
    """Return the absolute values (B, frames, F) of parts (B, frames, F, 2), at least `TINY`."""
    return (parts * parts).sum(-1).clamp(min=TINY**2).sqrt()


def _scaled(parts: Tensor, magnitude: Tensor | float = 1.0) -> Tensor:
    """Return parts (B, frames, F, 2) with other magnitudes (B, frames, F)."""
    return parts * (magnitude / _absolute(parts))[..., None]


def _turned(parts: Tensor, rotation: Tensor) -> Tensor:
    """Multiply complex numbers, each as its parts (B, frames, F, 2)."""
    return torch.view_as_real(torch.view_as_complex(parts) * torch.view_as_complex(rotation))
