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

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiotool.dsp.framing import Padding, edge_length, leading_samples
from audiotool.dsp.windows import make_window


class StreamingSTFT(nn.Module):
    """Waveform (B, T) to complex spec (B, F, frames), over chunks of any length.

    Args:
        n_fft: samples in a frame.
        hop_length: samples between frames.
        win_length: samples of the window, centred in the frame; n_fft when None.
        window: "hann", "sqrt_hann", "vorbis" or "ones"; periodic.
        padding: see the module docstring.

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
    ) -> None:
        super().__init__()
        self.n_fft = n_fft
        self.hop_length = hop_length
        self.padding = padding
        self.edge = edge_length(padding, n_fft, hop_length)
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
                # torch does not reflect a signal this short, so zeros are used.
                x = F.pad(x, (0, self.edge + 1 - x.shape[-1]))
            x = torch.cat((x[:, 1 : self.edge + 1].flip(-1), x), dim=-1)
            offset = 0
        if final:
            x = self._pad_end(x, offset)
        frames = max(0, (x.shape[-1] - offset - self.n_fft) // self.hop_length + 1)
        if frames == 0:
            return self._no_frames(x), (x, offset)
        used = x[..., offset : offset + (frames - 1) * self.hop_length + self.n_fft]
        spec = torch.fft.rfft(used.unfold(-1, self.n_fft, self.hop_length) * self.window)
        start = offset + frames * self.hop_length
        # The end reflects its last edge + 1 samples: keep them although their frames are done.
        kept = min(start, x.shape[-1] - self.edge - 1) if self.edge else start
        kept = max(kept, 0)
        return spec.transpose(1, 2), (x[..., kept:].clone(), start - kept)

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

    Takes StreamingSTFT's arguments, but for `win_length`. Output is aligned with the analysed waveform; after
    `final` it may be longer than the waveform was, by the padding of the end.

    State: (signal, envelope, skip): partial sums of the samples to which later frames are added, and the
    number of leading samples to drop. With padding "causal" there is no envelope: frames before the stream
    count as silent, which makes it periodic, and the window is divided by it in advance.
    """

    window: Tensor
    squared: Tensor

    def __init__(
        self, n_fft: int, hop_length: int, window: str = "hann", padding: Padding = "causal"
    ) -> None:
        super().__init__()
        self.n_fft = n_fft
        self.hop_length = hop_length
        self.padding = padding
        taps = make_window(window, n_fft)
        self.register_buffer("squared", taps.square(), persistent=False)
        if padding == "causal":
            taps = taps / self._envelope_period().repeat(-(-n_fft // hop_length))[:n_fft]
        self.register_buffer("window", taps, persistent=False)

    def forward(
        self,
        spec: Tensor,
        state: tuple[Tensor, Tensor | None, int] | None = None,
        final: bool = False,
        present: Tensor | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor | None, int] | None]:
        """(B, F, frames) -> (B, samples that no later frame can change), or both with stems: (B, S, …).

        Args:
            present: (B, frames), 0 for frames outside the stream, which are left out of its samples.
        """
        if spec.dim() == 4:
            stems = spec.shape[1]
            if state is not None:
                state = (state[0].flatten(0, 1), *state[1:])
            y, state = self(spec.transpose(2, 3).flatten(0, 1).transpose(1, 2), state, final)
            if state is not None:
                state = (state[0].unflatten(0, (-1, stems)), *state[1:])
            return y.unflatten(0, (-1, stems)), state
        overlap = self.n_fft - self.hop_length
        if state is None:
            skip = leading_samples(self.padding, self.n_fft, self.hop_length)
            signal = torch.zeros(spec.shape[0], overlap, dtype=spec.real.dtype, device=spec.device)
            envelope = None
            if self.padding != "causal":
                envelope = signal.new_zeros(1, overlap)
        else:
            signal, envelope, skip = state
        frames = spec.shape[-1]
        y = signal[..., :0]
        weights = None if envelope is None else envelope[..., :0]
        if frames:
            y, signal = self._add(torch.fft.irfft(spec.transpose(1, 2), n=self.n_fft) * self.window, signal)
            if envelope is not None:
                windows = self.squared.expand(1, frames, -1)
                if present is not None:
                    windows = windows * present[..., None]
                weights, envelope = self._add(windows, envelope.expand(windows.shape[0], -1))
        if final:
            y = torch.cat((y, signal), dim=-1)
            if weights is not None and envelope is not None:
                weights = torch.cat((weights, envelope), dim=-1)
        if weights is not None:
            # A Hann window is zero at its edge, so that no frame determines this sample.
            y = y / weights.clamp(min=1e-11)
        dropped = min(skip, y.shape[-1])
        state = None if final else (signal, envelope, skip - dropped)
        return y[..., dropped:] if dropped else y, state

    def _add(self, segments: Tensor, pending: Tensor) -> tuple[Tensor, Tensor]:
        """Overlap-add (B, frames, n_fft) to the sums (B, n_fft - hop) of earlier frames.

        Returns:
            (B, frames * hop) to which no later frame adds, and the new pending sums.
        """
        hop, overlap = self.hop_length, pending.shape[-1]
        if not overlap:
            return segments.flatten(1), pending
        if self.n_fft % hop:
            segments = F.pad(segments, (0, -self.n_fft % hop))
            pending = F.pad(pending, (0, -self.n_fft % hop))
        #   frame 0   a b c    pending  p q    from the last: b c of a frame meet a b of the next one, so c is
        #   frame 1     d e f                  delayed by a frame and added to b, and that to a. What is
        #                                      pending is what such a delay holds.
        *firsts, delayed = segments.split(hop, dim=-1)
        waiting = pending.unflatten(-1, (-1, hop)).split(1, dim=1) if len(firsts) > 1 else [pending[:, None]]
        held = []
        for hops, first in zip(reversed(firsts), reversed(waiting), strict=True):
            line = torch.cat((first, delayed), dim=1)
            held.append(line[:, -1:])
            delayed = hops + line[:, :-1]
        sums = held[0] if len(held) == 1 else torch.cat(held[::-1], dim=1)
        return delayed.flatten(1), sums.flatten(1)[:, :overlap].contiguous()

    def _envelope_period(self) -> Tensor:
        """Sum of all squared windows that cover a sample, over one hop."""
        whole = F.pad(self.squared, (0, -self.n_fft % self.hop_length)).view(-1, self.hop_length)
        return whole.sum(0).clamp(min=1e-11)


def stft(
    waveform: Tensor,
    n_fft: int,
    hop_length: int,
    win_length: int | None = None,
    window: str = "hann",
    center: bool = True,
) -> Tensor:
    """Compute the complex spec (..., F, frames) of a waveform (..., T), as torch.stft, edges reflected.

    A waveform too short to be reflected, or without `center` to fill a frame, is as one that is silent
    afterwards.
    """
    flat = waveform.reshape(-1, waveform.shape[-1])
    missing = (n_fft // 2 + 1 if center else n_fft) - flat.shape[-1]
    if missing > 0:
        flat = F.pad(flat, (0, missing))
    taps = make_window(window, n_fft, win_length).to(flat)
    spec = torch.stft(flat, n_fft, hop_length, n_fft, taps, center=center, return_complex=True)
    return spec.reshape(*waveform.shape[:-1], *spec.shape[-2:])


def power_spectrum(spec: Tensor) -> Tensor:
    """Return the squared magnitudes of a complex spec; unlike that of `abs`, their gradient is 0 at 0."""
    return spec.real.square() + spec.imag.square()
