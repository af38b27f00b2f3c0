"""Griffin-Lim: estimate a waveform from a mel without training, as a baseline for vocoders.

The mel's logarithm is undone and the filterbank is inverted by least squares. Phases are estimated by
repeated synthesis and analysis with momentum, as torchaudio does.

References: Griffin and Lim, Signal estimation from modified short-time Fourier transform, TASSP 1984;
Perraudin, Balazs, Søndergaard, A fast Griffin-Lim algorithm, WASPAA 2013.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from audiotool.dsp.mel import MelConfig
from audiotool.dsp.windows import make_window

ITERATIONS = 60
MOMENTUM = 0.99
TINY = 1e-9
"""Least magnitude whose phase is kept."""


def griffin_lim(mel: Tensor, config: MelConfig, iterations: int = ITERATIONS) -> Tensor:
    """Return (B, frames * hop_length) for a mel (B, n_mels, frames), aligned with what was analysed.

    Args:
        config: the mel's definition.
        iterations: back and forth, from phases that are always the same.
    """
    length = mel.shape[-1] * config.hop_length
    if mel.shape[-1] < 2:
        return mel.new_zeros(mel.shape[0], length)
    win_length = config.win_length or config.n_fft
    magnitude = magnitude_of(mel, config)
    transform: dict[str, Any] = {
        "n_fft": config.n_fft,
        "hop_length": config.hop_length,
        "win_length": win_length,
        "window": torch.hann_window(win_length, device=mel.device),
    }
    # Not torch's global generator, which is the caller's and that of all threads.
    generator, dtype = torch.Generator().manual_seed(0), magnitude.dtype.to_complex()
    phase = torch.rand(magnitude.shape, dtype=dtype, generator=generator).to(mel.device)
    previous = torch.zeros_like(phase)
    for _ in range(iterations):
        waveform = torch.istft(magnitude * phase, **transform)
        rebuilt = torch.stft(waveform, **transform, return_complex=True)
        phase = rebuilt - previous * (MOMENTUM / (1 + MOMENTUM))
        phase, previous = phase / (phase.abs() + 1e-16), rebuilt
    waveform = torch.istft(magnitude * phase, **transform)
    # torchaudio centres frames on n * hop. This is the offset of our frames from there.
    later = config.lookahead + 1 - config.n_fft // 2
    waveform = F.pad(waveform, (later, 0))
    return F.pad(waveform, (0, length - waveform.shape[-1]))


def magnitude_of(mel: Tensor, config: MelConfig) -> Tensor:
    """Return non-negative magnitudes (B, n_fft // 2 + 1, frames) whose mel is nearest to a given one."""
    from torchaudio.transforms import InverseMelScale

    if config.log != "none":
        mel = mel.exp() if config.log == "natural" else 10.0**mel
    inverse = InverseMelScale(
        config.n_fft // 2 + 1,
        config.n_mels,
        config.sample_rate,
        config.fmin,
        config.top,
        None if config.norm == "none" else config.norm,
        config.scale,
        # Narrow low bands may lie between two bins: the filterbank has not always full rank.
        driver="gelsd",
    ).to(mel.device)
    return inverse(mel) ** (1 / config.power)


class StreamingGriffinLim(nn.Module):
    """Improve the phases of a spec (B, F, T) by a fixed number of iterations, over chunks of any length.

    One iteration synthesises and analyses the frames around frame n, adds momentum, and restores the given
    magnitude:

        c[n] = STFT of the overlap-added frames n - past … n + lookahead
        t[n] = c[n] + momentum (c[n] - c of the iteration before)
        s[n] = magnitude[n] * t[n] / |t[n]|

    The overlap-added frames are divided by the sum of their squared windows. A frame of zeros alone is
    outside the stream and has no window: were it silence, the stream's first and last frames would get phases
    that fit a silent half.

    Whole-file Griffin-Lim uses every frame that overlaps frame n. Here an iteration uses only `lookahead` of
    the frames after it, because each iteration adds as many frames of latency. One frame was measured to be
    as good as all three (docs/vocoders.md).

    Where magnitudes are predicted from a mel, only the mel is certain. Given its filterbank, an iteration
    takes a part of the magnitudes that it finds, and scales them, band by band, to the given mel:

        m[n] = freedom |t[n]| + (1 - freedom) magnitude[n],  times the bins' shares of mel[n] / mel of m[n]

    Args:
        n_fft, hop_length: samples, as the spec's.
        iterations: number of iterations; all frames of a chunk are processed together.
        lookahead: number of frames after a frame on which its iteration depends.
        momentum: momentum of the fast algorithm; 0 gives Griffin and Lim's.
        freedom: part of the magnitudes that an iteration takes, 0 to 1; 0 keeps those given.
        bank: filterbank (F, n_mels) of the mel, with which `forward` then needs mels.

    State: for each iteration a tuple (segments, given, previous): windowed segments that overlap later
    frames, then magnitudes (behind them the mel's bands) and last projections of the frames that are not
    complete. Then for each of the last frames 1 if it is in the stream, else 0.
    """

    window: Tensor
    squares: Tensor
    bank: Tensor
    shares: Tensor

    def __init__(
        self,
        n_fft: int,
        hop_length: int,
        iterations: int,
        lookahead: int = 1,
        momentum: float = MOMENTUM,
        freedom: float = 0.0,
        bank: NDArray[np.float32] | None = None,
    ) -> None:
        super().__init__()
        self.n_fft, self.hop_length = n_fft, hop_length
        self.past = -(-n_fft // hop_length) - 1
        self.iterations, self.lookahead, self.momentum = iterations, min(lookahead, self.past), momentum
        window = make_window("hann", n_fft)
        # Of the squared windows of the frames n - past … n + lookahead, what covers frame n.
        squares = torch.zeros(self.past + 1 + self.lookahead, n_fft)
        for n, row in enumerate(squares):
            offset = (n - self.past) * hop_length
            begin, end = max(0, offset), min(n_fft, n_fft + offset)
            row[begin:end] = window.square()[begin - offset : end - offset]
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("squares", squares, persistent=False)
        self.freedom = freedom
        if freedom:
            if bank is None:
                raise ValueError("magnitudes are free only where a mel is given: its filterbank is missing")
            self.register_buffer("bank", torch.from_numpy(bank), persistent=False)
            self.register_buffer("shares", torch.from_numpy(bin_shares(bank)), persistent=False)

    def forward(
        self, spec: Tensor, state: Any = None, final: bool = False, mel: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        """Improve the phases of complex (B, F, frames) -> (B, F, frames complete so far).

        Args:
            mel: magnitudes of the mel (B, n_mels, frames), not their logarithms, where they are needed.
        """
        spec = spec.transpose(1, 2)
        given, previous = spec.abs(), None
        *states, present = self._start(given) if state is None else state
        present = torch.cat((present, (given.amax(-1) > 0).to(given.dtype)), dim=1)
        weights = self._weights(present)
        if mel is not None and self.freedom:
            given = torch.cat((given, mel.transpose(1, 2)), dim=-1)
        for n in range(self.iterations):
            weight = weights if final else weights[:, : -(n + 1) * self.lookahead or None]
            if torch.compiler.is_exporting():
                spec, given, previous, states[n] = self._exported(spec, given, previous, states[n], weight)
                continue
            spec, given, previous, states[n] = self._iterate(spec, given, previous, states[n], weight, final)
        return spec.transpose(1, 2), (*states, present[:, -self._history :].clone())

    @property
    def _history(self) -> int:
        """Number of frames before those of a chunk on whose presence the iterations depend."""
        return self.past + self.iterations * self.lookahead

    def _start(self, given: Tensor) -> list[Any]:
        return [*[None] * self.iterations, given.new_zeros(given.shape[0], self._history)]

    def _weights(self, present: Tensor) -> Tensor:
        """Return by what the sums of each frame are multiplied before the transform, (B, frames, n_fft).

        Args:
            present: (B, past + frames), 1 for the frames in the stream; none follow.
        """
        around = F.pad(present, (0, self.lookahead)).unfold(1, len(self.squares), 1)
        return self.window / (around @ self.squares).clamp(min=1e-2)

    def _iterate(
        self, spec: Tensor, given: Tensor, previous: Tensor | None, state: Any, weight: Tensor, final: bool
    ) -> tuple[Tensor, Tensor, Tensor, Any]:
        """Compute an iteration of a spec (B, frames, F), with the last projection (B, frames, F, 2).

        Args:
            weight: that of the last complete frames, see `_weights`, and of those before.
        """
        segments = self._segments(spec)
        if previous is None:
            previous = segments.new_zeros(*spec.shape, 0)  # the first iteration has no momentum
        if state is None:
            segments = F.pad(segments, (0, 0, self.past, 0))
        else:
            segments, given, previous = (
                torch.cat(pair, dim=1) for pair in zip(state, (segments, given, previous), strict=True)
            )
        if final:
            segments = F.pad(segments, (0, 0, 0, self.lookahead))
        frames = max(0, segments.shape[1] - self.past - self.lookahead)
        kept = tuple(x[:, frames:].clone() for x in (segments, given, previous))
        given, previous = given[:, :frames], previous[:, :frames]
        # Real and imaginary parts as a last axis: complex arithmetic with real factors takes twice as long.
        if frames == 0:
            projected = target = torch.view_as_real(spec[:, :0])
        else:
            sums = self._sums(segments, frames) * weight[:, weight.shape[1] - frames :]
            projected = target = torch.view_as_real(torch.fft.rfft(sums))
        if previous.shape[-1]:
            target = torch.lerp(previous, projected, 1 + self.momentum)
        real, imaginary = target.unbind(-1)
        power = torch.addcmul(real * real, imaginary, imaginary).clamp_(min=TINY**2)
        scale = self._scale(power, given) if self.freedom else power.rsqrt_() * given
        return torch.view_as_complex(target * scale[..., None]), given, projected, kept

    def _scale(self, power: Tensor, given: Tensor) -> Tensor:
        """Return the factors that give a target of this power magnitudes with the given mel."""
        magnitude, mel = given.split((len(self.bank), self.bank.shape[1]), dim=-1)
        length = power.sqrt()
        mixed = self.freedom * length + (1 - self.freedom) * magnitude
        gain = mel / (mixed @ self.bank).clamp(min=TINY)
        return mixed * (gain @ self.shares) / length

    def _exported(
        self, spec: Tensor, given: Tensor, previous: Tensor | None, state: Any, weight: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Any]:
        """Compute `_iterate` in the steady state by few operations, for graphs; projections are complex."""
        ahead, waiting = self.lookahead, self.past + self.lookahead
        segments = torch.cat((state[0], self._segments(spec)), dim=1)
        given = torch.cat((state[1], given), dim=1)
        held_segments, held = segments[:, -waiting:], given[:, given.shape[1] - ahead :]
        frames = spec.shape[1]
        sums = self._sums(segments, frames) * weight[:, weight.shape[1] - frames :]
        projected = target = torch.fft.rfft(sums)
        carried = state[2]
        if previous is not None:
            before = torch.cat((torch.view_as_complex(state[2]), previous), dim=1)
            carried = torch.view_as_real(before[:, before.shape[1] - ahead :])
            before = before[:, : -ahead or None]
            target = before + (projected - before) * (1 + self.momentum)
        given = given[:, : -ahead or None]
        power = (target.real * target.real + target.imag * target.imag).clamp(min=TINY**2)
        scale = self._scale(power, given) if self.freedom else given / power.sqrt()
        return target * scale, given, projected, tuple(x.clone() for x in (held_segments, held, carried))

    def _segments(self, spec: Tensor) -> Tensor:
        """Synthesise frames (B, frames, F) into windowed segments (B, frames, n_fft)."""
        if spec.shape[1] == 0:
            return spec.real.new_zeros(spec.shape[0], 0, self.n_fft)
        return torch.fft.irfft(spec, n=self.n_fft) * self.window

    def _sums(self, segments: Tensor, frames: int) -> Tensor:
        """Overlap-add the segments around each of `frames` frames, (B, frames, n_fft)."""
        past, ahead, hop = self.past, self.lookahead, self.hop_length
        if self.n_fft % hop:
            segments = F.pad(segments, (0, (past + 1) * hop - self.n_fft))
        hops = segments.split(hop, dim=-1)
        #   frame n      a b c d      With one frame of look-ahead, d of frame n is complete when c of frame
        #   frame n + 1    a b c d    n + 1 is added, and c of frame n + 1 is that sum and b of frame n + 2.
        sums = hops[past][:, : frames + past]
        for n in range(1, ahead + 1):
            sums = sums + hops[past - n][:, n : n + frames + past]
        rows = [sums]
        for n in reversed(range(past)):
            sums = sums[:, : frames + n]
            if n >= ahead:
                sums = sums + hops[n - ahead][:, past + ahead - n : past + ahead + frames]
            rows.append(sums)
        return torch.cat([row[:, n:] for n, row in enumerate(reversed(rows))], dim=-1)[..., : self.n_fft]


def bin_shares(bank: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the shares of bands in each bin, (n_mels, F); a bin outside all bands has the nearest one's."""
    total, bins = bank.sum(1), np.arange(len(bank))
    distance = np.abs(bins[:, None] - bins) + np.where(total > 0, 0, len(bank))
    shares = (bank / np.maximum(total, TINY)[:, None])[distance.argmin(1)]
    return np.ascontiguousarray(shares.T, dtype=np.float32)
