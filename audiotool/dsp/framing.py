"""Frames of a stream, without PyTorch: alignment, a streaming analysis of the same frames as `dsp.stft`'s.

`dsp.stft` says how `padding` aligns frames.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Padding = Literal["causal", "center", "same", "none"]

Samples = NDArray[Any]


def edge_length(padding: Padding, n_fft: int, hop_length: int) -> int:
    """Return the number of samples reflected at either end of a stream, 0 for no reflection."""
    return {"center": n_fft // 2, "same": (n_fft - hop_length) // 2}.get(padding, 0)


def leading_samples(padding: Padding, n_fft: int, hop_length: int) -> int:
    """Return how many samples of the first frame lie before the waveform: reflected ones, or zeros."""
    return n_fft - hop_length if padding == "causal" else edge_length(padding, n_fft, hop_length)


def check_frames(n_fft: int, hop_length: int, win_length: int | None = None, whole_hops: bool = True) -> None:
    """Check that overlap-added frames can reconstruct a waveform.

    Args:
        win_length: samples of the window; n_fft when None.
        whole_hops: True if a frame must be a whole number of hops.
    Raises:
        ValueError: they cannot; the message names the values that do not fit each other.
    """
    window = n_fft if win_length is None else win_length
    if n_fft % 2:
        raise ValueError(f"n_fft must be even, found {n_fft}")
    if window > n_fft:
        raise ValueError(f"win_length {window} must not exceed n_fft {n_fft}")
    if 2 * hop_length > window:
        raise ValueError(f"hop_length {hop_length} must be at most half of a window of {window} samples")
    if whole_hops and n_fft % hop_length:
        raise ValueError(f"hop_length {hop_length} must divide n_fft {n_fft}")


def hann(length: int, n_fft: int) -> NDArray[np.float32]:
    """Return a periodic Hann window of `length` samples, centred in a frame (n_fft,)."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    left = (n_fft - length) // 2
    return np.pad(window, (left, n_fft - length - left)).astype(np.float32)


class StreamingFrames:
    """Waveform (B, T) to frames (B, frames, n_fft), over chunks of any length: those of `StreamingSTFT`.

    Args:
        n_fft: samples in a frame.
        hop_length: samples between frames.
        padding: alignment of frames.
    """

    def __init__(self, n_fft: int, hop_length: int, padding: Padding = "causal") -> None:
        self.n_fft = n_fft
        self.hop_length = hop_length
        self.padding = padding
        self.edge = edge_length(padding, n_fft, hop_length)

    def step(
        self, x: Samples, state: tuple[Samples, int] | None = None, final: bool = False
    ) -> tuple[Samples, tuple[Samples, int]]:
        """Return the complete frames of a chunk (B, T), as a view, and the state, as `StreamingSTFT`'s."""
        if state is None:
            if self.padding == "causal":
                x = np.pad(x, ((0, 0), (self.n_fft - self.hop_length, 0)))
            offset = -1 if self.edge else 0
        else:
            offset = state[1]
            x = np.concatenate((state[0], x), axis=-1)
        if offset < 0:
            if x.shape[-1] <= self.edge and not final:
                return self._no_frames(x), (x, -1)
            if x.shape[-1] <= self.edge:
                # The stream is too short to be reflected, so zeros are used.
                x = np.pad(x, ((0, 0), (0, self.edge + 1 - x.shape[-1])))
            x = np.concatenate((x[:, self.edge : 0 : -1], x), axis=-1)
            offset = 0
        if final:
            x = self._pad_end(x, offset)
        frames = max(0, (x.shape[-1] - offset - self.n_fft) // self.hop_length + 1)
        if frames == 0:
            return self._no_frames(x), (x, offset)
        used = x[:, offset : offset + (frames - 1) * self.hop_length + self.n_fft]
        cut = np.lib.stride_tricks.sliding_window_view(used, self.n_fft, axis=-1)[:, :: self.hop_length]
        start = offset + frames * self.hop_length
        # The end reflects its last edge + 1 samples: keep them although their frames are done.
        kept = max(min(start, x.shape[-1] - self.edge - 1) if self.edge else start, 0)
        return cut, (x[:, kept:].copy(), start - kept)

    def _pad_end(self, x: Samples, offset: int) -> Samples:
        if self.edge:
            return np.concatenate((x, x[:, -self.edge - 1 : -1][:, ::-1]), axis=-1)
        if self.padding == "causal":
            # Every frame that begins before the end is completed with zeros.
            remaining = x.shape[-1] - offset
            frames = -(-remaining // self.hop_length)
            missing = max(0, (frames - 1) * self.hop_length + self.n_fft - remaining)
            return np.pad(x, ((0, 0), (0, missing)))
        return x

    def _no_frames(self, x: Samples) -> Samples:
        return np.zeros((len(x), 0, self.n_fft), x.dtype)
