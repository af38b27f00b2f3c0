"""Short-time Fourier transforms as streaming layers, written once for models, losses and metrics.

A spec is complex (B, F, T) with F = n_fft // 2 + 1. The alignments:

    padding="causal"     frame n ends with sample (n + 1) * hop - 1; zeros come before the stream
    padding="center"     frame n is centred on sample n * hop, edges reflected, as torch.stft(center=True)
    padding="same"       frame n is centred on sample n * hop + hop / 2, edges reflected: T // hop frames
    padding="none"       frame n begins at sample n * hop

        causal, n_fft 4, hop 2:   0 0|0 1 2 3 4 5
                     frame 0     [-------]
                     frame 1         [-------]

Analysis followed by synthesis delays by n_fft - 1 samples at most (sample n * hop is final when the last
frame that covers it has ended), whatever the alignment.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiotool.dsp.windows import make_window

Padding = Literal["causal", "center", "same", "none"]


def edge_length(padding: Padding, n_fft: int, hop_length: int) -> int:
    """Samples reflected at either end of the stream: 0 where the alignment reflects nothing."""
    return {"center": n_fft // 2, "same": (n_fft - hop_length) // 2}.get(padding, 0)


class StreamingSTFT(nn.Module):
    """Waveform (B, T) to complex spec (B, F, frames), over chunks of any length.

    Args:
        n_fft: samples in a frame.
        hop_length: samples between frames.
        win_length: samples of the window, centred in the frame; n_fft when None.
        window: "hann", "sqrt_hann", "vorbis" or "ones"; periodic.
        padding: see the module docstring.
        normalized: divide by sqrt(n_fft).

    State: (buffer, offset): samples from `offset` before the next frame's first one on, or, before a stream
    with reflected edges has begun, everything so far with offset -1.
    """

    window: Tensor

    def __init__(
        self,
        n_fft: int,
        hop_length: int,
        win_length: int | None = None,
        window: str = "hann",
        padding: Padding = "causal",
        normalized: bool = False,
    ) -> None:
        super().__init__()
        self.n_fft = n_fft
        self.hop_length = hop_length
        self.padding = padding
        self.edge = edge_length(padding, n_fft, hop_length)
        self.scale = n_fft**-0.5 if normalized else 1.0
        self.register_buffer("window", make_window(window, n_fft, win_length), persistent=False)

    def forward(
        self, x: Tensor, state: tuple[Tensor, int] | None = None, final: bool = False
    ) -> tuple[Tensor, tuple[Tensor, int]]:
        """(B, T) -> (B, F, frames complete so far)."""
        if state is None:
            if self.padding == "causal":
                x = F.pad(x, (self.n_fft - self.hop_length, 0))
            offset = -1 if self.edge else 0
        else:
            offset = state[1]
            x = torch.cat((state[0], x), dim=-1)
        if offset < 0:
            if x.shape[-1] <= self.edge and not final:
                return self._no_frames(x), (x, -1)
            if x.shape[-1] <= self.edge:
                # Too short to reflect: torch refuses; zeros keep such a stream usable.
                x = F.pad(x, (0, self.edge + 1 - x.shape[-1]))
            x = torch.cat((x[:, 1 : self.edge + 1].flip(-1), x), dim=-1)
            offset = 0
        if final:
            x = self._pad_end(x, offset)
        frames = max(0, (x.shape[-1] - offset - self.n_fft) // self.hop_length + 1)
        if frames == 0:
            return self._no_frames(x), (x, offset)
        used = x[:, offset : offset + (frames - 1) * self.hop_length + self.n_fft]
        spec = torch.fft.rfft(used.unfold(-1, self.n_fft, self.hop_length) * (self.window * self.scale))
        start = offset + frames * self.hop_length
        # The end reflects its last edge + 1 samples: keep them although their frames are done.
        kept = min(start, x.shape[-1] - self.edge - 1) if self.edge else start
        kept = max(kept, 0)
        return spec.transpose(1, 2), (x[:, kept:].clone(), start - kept)

    def _pad_end(self, x: Tensor, offset: int) -> Tensor:
        if self.edge:
            return torch.cat((x, x[:, -self.edge - 1 : -1].flip(-1)), dim=-1)
        if self.padding == "causal":
            # Every frame that begins before the end is completed with zeros.
            remaining = x.shape[-1] - offset
            frames = -(-remaining // self.hop_length)
            return F.pad(x, (0, max(0, (frames - 1) * self.hop_length + self.n_fft - remaining)))
        return x

    def _no_frames(self, x: Tensor) -> Tensor:
        dtype = torch.complex128 if x.dtype == torch.float64 else torch.complex64
        return torch.zeros(x.shape[0], self.n_fft // 2 + 1, 0, dtype=dtype, device=x.device)


class StreamingISTFT(nn.Module):
    """Complex spec (B, F, frames) to waveform (B, T): weighted overlap-add, as torch.istft.

    Takes StreamingSTFT's arguments. Output is aligned with the analysed waveform; after `final` it may be
    longer than the waveform was, by the padding of the end.

    State: (signal, envelope, skip): partial sums of the samples later frames still add to, and how many
    leading samples are still to be dropped.
    """

    window: Tensor

    def __init__(
        self,
        n_fft: int,
        hop_length: int,
        win_length: int | None = None,
        window: str = "hann",
        padding: Padding = "causal",
        normalized: bool = False,
    ) -> None:
        super().__init__()
        self.n_fft = n_fft
        self.hop_length = hop_length
        self.padding = padding
        self.scale = n_fft**0.5 if normalized else 1.0
        self.register_buffer("window", make_window(window, n_fft, win_length), persistent=False)

    def forward(
        self, spec: Tensor, state: tuple[Tensor, Tensor, int] | None = None, final: bool = False
    ) -> tuple[Tensor, tuple[Tensor, Tensor, int] | None]:
        """(B, F, frames) -> (B, samples that no later frame can change)."""
        overlap = self.n_fft - self.hop_length
        if state is None:
            edge = edge_length(self.padding, self.n_fft, self.hop_length)
            skip = overlap if self.padding == "causal" else edge
            signal = torch.zeros(spec.shape[0], overlap, dtype=spec.real.dtype, device=spec.device)
            envelope = torch.zeros(overlap, dtype=spec.real.dtype, device=spec.device)
            if self.padding == "causal":
                # Frames before the stream are silent, yet counting them keeps the envelope periodic.
                envelope = self._envelope_before(overlap)
        else:
            signal, envelope, skip = state
        frames = spec.shape[-1]
        if frames:
            segments = torch.fft.irfft(spec.transpose(1, 2), n=self.n_fft) * (self.window * self.scale)
            added = self._add(segments.transpose(1, 2))
            signal = torch.cat((added[:, :overlap] + signal, added[:, overlap:]), dim=-1)
            weights = self._add(self.window.square()[None, :, None].expand(1, -1, frames))[0]
            envelope = torch.cat((weights[:overlap] + envelope, weights[overlap:]), dim=-1)
        done = signal.shape[-1] if final else frames * self.hop_length
        # The edges of a Hann window are zero: no frame says anything about such a sample.
        y = signal[:, :done] / envelope[:done].clamp(min=1e-11)
        dropped = min(skip, y.shape[-1])
        state = None if final else (signal[:, done:].clone(), envelope[done:].clone(), skip - dropped)
        return y[:, dropped:], state

    def _add(self, segments: Tensor) -> Tensor:
        """Overlap-add (B, n_fft, frames) -> (B, (frames - 1) * hop + n_fft)."""
        length = (segments.shape[-1] - 1) * self.hop_length + self.n_fft
        folded = F.fold(segments, (1, length), (1, self.n_fft), stride=(1, self.hop_length))
        return folded[:, 0, 0]

    def _envelope_before(self, overlap: int) -> Tensor:
        """What the frames before the stream leave on its first `overlap` samples."""
        envelope = self.window.new_zeros(overlap)
        for start in range(-self.hop_length, -self.n_fft, -self.hop_length):
            tail = self.window.square()[-start:]
            envelope[: min(overlap, len(tail))] += tail[:overlap]
        return envelope


def stft(
    waveform: Tensor,
    n_fft: int,
    hop_length: int,
    win_length: int | None = None,
    window: str = "hann",
    center: bool = True,
) -> Tensor:
    """Spec of a whole waveform (..., T) -> complex (..., F, frames), as torch.stft with reflected edges."""
    flat = waveform.reshape(-1, waveform.shape[-1])
    taps = make_window(window, n_fft, win_length).to(flat)
    spec = torch.stft(flat, n_fft, hop_length, n_fft, taps, center=center, return_complex=True)
    return spec.reshape(*waveform.shape[:-1], *spec.shape[-2:])
