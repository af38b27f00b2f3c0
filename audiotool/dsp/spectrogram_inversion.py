"""Real-time spectrogram inversion: the waveform of a stream of mel frames, with a short look-ahead.

Griffin-Lim repeats synthesis and analysis over all frames, so each iteration that a stream computes costs a
frame of look-ahead. Here a few frames are held. Whenever one comes in, all of them are iterated together, and
then a hop of samples is given out, the oldest that was not:

    given out, fixed  │  free
    samples ──────────┼───┬───────────────────
      held     s s s  │ s s s s s s s  ◄── new frame, its phase continued from the frame before
               the last hop of the first of these is given out

                          c[n] = STFT of the samples, of which the free ones are the overlap-added frames
                          t[n] = c[n] + momentum (c[n] - c of the iteration before)
                          m[n] = freedom |t[n]| + (1 - freedom) magnitude[n], scaled to the mel
                          s[n] = m[n] t[n] / |t[n]|

A frame is iterated as long as one of its samples is free, and what frames are fitted to is the waveform that
is heard. Each hop is faded over from what it was after the iterations before, which fit the hop before it.
The look-ahead is that of the frames behind the hop that is given out. What was given out decides
what follows, so that with more iterations or a greater momentum streams that differ by rounding grow apart
(docs/experiments.md). A good first phase makes few iterations enough.

References: Zhu, Beauregard, Wyse, Real-time signal estimation from modified short-time Fourier transform
magnitude spectra, TASLP 2007; momentum from Perraudin, Balazs, Søndergaard, A fast Griffin-Lim algorithm,
WASPAA 2013. The continued phase, the mel in place of the magnitude and the frames held until all of their
samples are given out are ours.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from audiotool.dsp.framing import Padding, hann, leading_samples
from audiotool.dsp.griffin_lim import TINY, bin_shares
from audiotool.dsp.loop import loop
from audiotool.dsp.windows import make_window

DECIMATION = 4
"""The iterations after the first work on the lowest bins alone, one in so many: their phases decide the
quality."""


class _Band(nn.Module):
    """The lowest `n_fft // 2 + 1` bins of the frames that are held.

    Specs are real and imaginary parts (B, frames, 2, F), because a graph has no complex numbers; magnitudes
    are (B, frames, 1, F), mels (B, frames, 1, n_mels).
    Samples are rows of one hop (B, rows, hop), the first `past` of them given out: to overlap-add frames, or
    to cut them, is a product with a matrix of zeros and ones, one operator for arrays this small.

    Args:
        n_fft, hop_length: samples of a frame and between frames, at the rate that these bins need.
        frames: number of frames that are held, the new one included.
        bank: filterbank of the mel, (F, n_mels); bands that reach above the bins are left out.
        freedom: part of the magnitudes that an iteration takes.
    """

    window: Tensor
    overlap: Tensor
    cut: Tensor
    fade: Tensor
    bank: Tensor
    shares: Tensor

    def __init__(
        self, n_fft: int, hop_length: int, frames: int, bank: NDArray[np.float32], freedom: float
    ) -> None:
        super().__init__()
        self.n_fft, self.hop_length, self.frames = n_fft, hop_length, frames
        self.bins, self.freedom = n_fft // 2 + 1, freedom
        hops = n_fft // hop_length
        self.past = hops - 1
        self.register_buffer("window", make_window("hann", n_fft), persistent=False)
        # Hop b of frame n lies in row n + b.
        rows = (torch.arange(frames)[:, None] + torch.arange(hops)).flatten()
        overlap = (torch.arange(frames + self.past)[:, None] == rows).float()
        self.register_buffer("cut", overlap.mT.contiguous(), persistent=False)
        # Frames add nothing to the rows that were given out.
        overlap = torch.cat((torch.zeros_like(overlap[: self.past]), overlap[self.past :]))
        self.register_buffer("overlap", overlap, persistent=False)
        fade = (torch.pi / 2 * (torch.arange(hop_length) + 0.5) / hop_length).sin().square()
        self.register_buffer("fade", fade, persistent=False)
        # Bands ascend: the lowest lie below.
        bank = bank[: self.bins, : int((bank[self.bins :].sum(0) <= 0).sum())]
        self.register_buffer("bank", torch.from_numpy(bank.copy()), persistent=False)
        self.register_buffer("shares", torch.from_numpy(bin_shares(bank)), persistent=False)

    def synthesise(self, spec: Tensor) -> Tensor:
        """Transform frames to windowed segments (B, frames, n_fft)."""
        return torch.fft.irfft(_complex(spec), n=self.n_fft) * self.window

    def analyse(self, segments: Tensor) -> Tensor:
        """Transform segments (B, frames, n_fft) to frames, windowed."""
        return _parts(torch.fft.rfft(segments * self.window))

    def kept(self, magnitude: Tensor) -> Tensor:
        """Return the magnitudes to which those of a target are added as they are.

        Only the ratio of the two counts, because the sum is scaled to the mel.
        """
        return magnitude * ((1 - self.freedom) / max(self.freedom, 1e-6))

    def project(self, past: Tensor, spec: Tensor, power: Tensor) -> Tensor:
        """Overlap-add the frames that are held, and analyse the samples.

        Args:
            past: the rows that were given out, padded to all rows (B, rows, hop).
            power: of the windows in each sample, 1 in those rows, (B, rows, hop).
        """
        hops = self.synthesise(spec).reshape(-1, self.overlap.shape[1], self.hop_length)
        overlap, cut = (matrix.expand(spec.shape[0], -1, -1) for matrix in (self.overlap, self.cut))
        rows = torch.baddbmm(past, overlap, hops) / power
        return self.analyse(torch.bmm(cut, rows).reshape(-1, self.frames, self.n_fft))

    def restore(self, target: Tensor, kept: Tensor, mel: Tensor) -> Tensor:
        """Return the target with magnitudes that have the given mel."""
        length = _absolute(target)
        mixed = kept + length
        gain = mel / (mixed @ self.bank).clamp(min=TINY)
        return target * (mixed * (gain @ self.shares) / length)

    def give_out(self, past: Tensor, spec: Tensor, power: Tensor) -> Tensor:
        """Return the rows given out last, now with the first that is free, and the row after it as it is now.

        Args:
            past: what this returned after the iterations before, (B, past + 1, hop).
        """
        row, reaching = self.past, min(self.past + 2, self.frames)
        hops = self.synthesise(spec[:, :reaching]).reshape(-1, reaching * (self.past + 1), self.hop_length)
        rows = (self.overlap[row : row + 2, : hops.shape[1]] @ hops) / power[:, row : row + 2]
        before = past[:, row:]
        return torch.cat((past[:, 1:row], before + self.fade * (rows[:, :1] - before), rows[:, 1:]), dim=1)


class _LowBand(_Band):
    """A band so small that in a graph each of its transforms is one product with a matrix."""

    synthesis: Tensor
    analysis: Tensor

    def __init__(
        self, n_fft: int, hop_length: int, frames: int, bank: NDArray[np.float32], freedom: float
    ) -> None:
        super().__init__(n_fft, hop_length, frames, bank, freedom)
        analysis = _transform_matrix(n_fft)
        # The inverse is the transpose, with the weights of the bins.
        scale = np.full(2 * self.bins, 2 / n_fft, np.float32)
        scale[[0, n_fft // 2]] = 1 / n_fft
        synthesis = np.ascontiguousarray((analysis * scale).T)
        self.register_buffer("analysis", torch.from_numpy(analysis), persistent=False)
        self.register_buffer("synthesis", torch.from_numpy(synthesis), persistent=False)

    def synthesise(self, spec: Tensor) -> Tensor:
        if torch.compiler.is_exporting():
            return spec.flatten(2) @ self.synthesis
        return super().synthesise(spec)

    def analyse(self, segments: Tensor) -> Tensor:
        if torch.compiler.is_exporting():
            return (segments @ self.analysis).unflatten(2, (2, self.bins))
        return super().analyse(segments)


class StreamingSpectrogramInversion(nn.Module):
    """Find a waveform whose spec (B, F, T) has a given mel, over chunks of any length.

    Args:
        n_fft, hop_length: samples, as the spec's.
        bank: filterbank of the mel, (F, n_mels).
        iterations: number of iterations for each frame that comes in.
        lookahead: frames that have come in after the one that a hop begins when that hop is given out.
        momentum: of the iterations.
        freedom: part of the magnitudes that an iteration takes, 0 to 1.
        padding: alignment of the frames, see `dsp.stft`.
    Raises:
        ValueError: the hop does not divide the frame, or `DECIMATION` does not divide the hop.

    State: the last samples given out that frames still reach, and a hop of those that follow, of all bins and
    of the lowest; spec, magnitude and mel of the frames that are held; and the number of samples that are
    still to be dropped, because a stream begins with frames outside it.
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
        padding: Padding = "same",
    ) -> None:
        super().__init__()
        if n_fft % hop_length or hop_length % DECIMATION:
            raise ValueError(
                f"frames of {n_fft} samples every {hop_length}: the hop must divide the frame, and"
                f" {DECIMATION} the hop"
            )
        self.iterations, self.lookahead, self.momentum = iterations, lookahead, momentum
        self.past = n_fft // hop_length - 1
        self.edge = leading_samples(padding, n_fft, hop_length)
        self.frames = self.past + 1 + lookahead
        sizes = n_fft // DECIMATION, hop_length // DECIMATION
        self.whole = _Band(n_fft, hop_length, self.frames, bank, freedom)
        self.low = _LowBand(*sizes, self.frames, bank, freedom)
        # Of each frame the squared window in the rows that are free.
        coverage = torch.zeros(self.frames, self.frames + self.past, hop_length)
        for n, rows in enumerate(coverage):
            rows[n : n + self.past + 1] = self.whole.window.square().view(-1, hop_length)
        self.register_buffer("coverage", coverage[:, self.past :].contiguous(), persistent=False)

    def forward(
        self, spec: Tensor, mel: Tensor, rotation: Tensor, state: Any = None, final: bool = False
    ) -> tuple[Tensor, Any]:
        """Invert complex (B, F, frames) -> (B, samples complete so far).

        Args:
            spec: magnitudes, and phases to begin with. A frame of zeros alone is outside the stream.
            mel: magnitudes of the mel (B, n_mels, frames), not their logarithms.
            rotation: complex (B, F, frames), by which phases advance from the frame before. Its absolute
                value is 1 where only that gives the first phase, and 0 where only `spec` does.
        """
        spec, mel, rotation = (x.transpose(1, 2) for x in (spec, mel, rotation))
        if final:
            spec, mel, rotation = (F.pad(x, (0, 0, 0, self.frames - 1)) for x in (spec, mel, rotation))
        if not spec.shape[1]:
            return mel.new_zeros(len(mel), 0), state
        *held, dropped = self._start(spec, mel) if state is None else state
        magnitude = spec.abs()
        # Never nothing, because a stream's first frame has none before it.
        own = spec * ((1.001 - rotation.abs()) / magnitude.clamp(min=TINY))
        rows, held = loop(self._advance, held, (own, rotation, magnitude[:, :, None], mel[:, :, None]))
        samples = rows.flatten(1)
        if dropped:
            before, samples = samples.shape[1], samples[:, dropped:]
            dropped -= before - samples.shape[1]
        return samples, (*held, dropped)

    def _start(self, spec: Tensor, mel: Tensor) -> tuple[Any, ...]:
        """Return the state before a stream: frames outside it are held."""
        held = mel.new_zeros(len(mel), self.frames, 2, spec.shape[-1])
        mels = mel.new_zeros(len(mel), self.frames, 1, mel.shape[-1])
        whole, low = (
            mel.new_zeros(len(mel), self.past + 1, band.hop_length) for band in (self.whole, self.low)
        )
        outside = self.lookahead * self.whole.hop_length + self.edge
        return whole, low, held, held[:, :, :1].clone(), mels, outside

    def _advance(self, state: list[Tensor], frame: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Take in a frame (own, rotation, magnitude, mel), iterate all that are held, and give a hop out."""
        whole, low, *held = state
        own, rotation, magnitude, mel = frame
        last = held[0][:, -1:]
        first = _parts(own + _complex(last / _absolute(last)) * rotation)
        first = first * (magnitude / _absolute(first))
        spec, magnitude, mel = (
            torch.cat((before[:, 1:], new), dim=1)
            for before, new in zip(held, (first, magnitude, mel), strict=True)
        )
        present = (magnitude.amax((2, 3)) > 0).to(magnitude.dtype)
        free = (present @ self.coverage.flatten(1)).unflatten(1, self.coverage.shape[1:]).clamp(min=1e-2)
        power = F.pad(free, (0, 0, self.past, 0), value=1.0)
        spec, lower = self._iterate((whole, low), power, spec, magnitude, mel)
        whole = self.whole.give_out(whole, spec, power)
        low = self.low.give_out(low, lower, power[..., ::DECIMATION])
        return whole[:, self.past - 1 : self.past], [whole, low, spec, magnitude, mel]

    def _iterate(
        self, pasts: tuple[Tensor, Tensor], power: Tensor, spec: Tensor, magnitude: Tensor, mel: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Iterate all bins once, then the lowest; return the spec, and its lowest bins."""
        whole, low = self.whole, self.low
        past_whole, past_low = (F.pad(past[:, :-1], (0, 0, 0, self.frames)) for past in pasts)
        kept = whole.kept(magnitude)
        projected = whole.project(past_whole, spec, power)
        spec = whole.restore(projected, kept, mel)
        lower, below = spec[..., : low.bins], projected[..., : low.bins]
        kept, mel, power = kept[..., : low.bins], mel[..., : low.bank.shape[1]], power[..., ::DECIMATION]
        for _ in range(self.iterations - 1):
            before, below = below, low.project(past_low, lower, power)
            lower = low.restore(below + self.momentum * (below - before), kept, mel)
        return torch.cat((lower, spec[..., low.bins :]), dim=-1), lower


def _transform_matrix(size: int) -> NDArray[np.float32]:
    """Return the matrix (size, size + 2) from samples to the parts of their windowed spec."""
    turn = np.cos(np.arange(size) * (2 * np.pi / size)).astype(np.float32)
    turns = np.arange(size)[:, None] * np.tile(np.arange(size // 2 + 1), 2)
    quarter = np.repeat([0, size // 4], size // 2 + 1)
    return turn[(turns + quarter) % size] * hann(size, size)[:, None]


def _complex(parts: Tensor) -> Tensor:
    """Return complex numbers (B, frames, F) of their parts (B, frames, 2, F)."""
    return torch.complex(parts[:, :, 0], parts[:, :, 1])


def _parts(spec: Tensor) -> Tensor:
    return torch.stack((spec.real, spec.imag), dim=2)


def _absolute(parts: Tensor) -> Tensor:
    """Return the absolute values (B, frames, 1, F) of parts (B, frames, 2, F), at least `TINY`."""
    return (parts * parts).sum(2, keepdim=True).clamp(min=TINY**2).sqrt()
