"""Inverse modified discrete cosine transform as a streaming layer.

A frame of N coefficients gives 2 N samples, frames follow each other by N, and the sine window makes the
aliasing of neighbours cancel:

    y[n] = sqrt(2 / N) * w[n] * sum_k X[k] cos(pi / N * (n + 1/2 + N/2) * (k + 1/2))
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiotool.dsp.framing import Padding, leading_samples


class StreamingIMDCT(nn.Module):
    """Coefficients (B, N, frames) to waveform (B, T), overlap-added.

    Args:
        frame_length: 2 N samples.
        padding: alignment of frames, as in `audiotool.dsp.stft`; decides how much is cut at the beginning.

    State: (signal, skip): partial sums of the N samples to which the next frame is added, and the number of
    leading samples to drop.
    """

    basis: Tensor

    def __init__(self, frame_length: int, padding: Padding = "center") -> None:
        super().__init__()
        if frame_length % 2:
            raise ValueError(f"a frame has an even number of samples, got {frame_length}")
        self.hop_length = frame_length // 2
        self.skip = leading_samples(padding, frame_length, self.hop_length)
        self.register_buffer("basis", _basis(self.hop_length), persistent=False)

    def forward(
        self, coefficients: Tensor, state: tuple[Tensor, int] | None = None, final: bool = False
    ) -> tuple[Tensor, tuple[Tensor, int] | None]:
        """(B, N, frames) -> (B, samples that no later frame can change)."""
        hop, (batch, _, frames) = self.hop_length, coefficients.shape
        signal, skip = (coefficients.new_zeros(batch, hop), self.skip) if state is None else state
        if frames:
            segments = torch.matmul(self.basis.T, coefficients)
            added = F.fold(segments, (1, (frames + 1) * hop), (1, 2 * hop), stride=(1, hop))[:, 0, 0]
            signal = torch.cat((added[:, :hop] + signal, added[:, hop:]), dim=-1)
        done = signal.shape[-1] if final else frames * hop
        dropped = min(skip, done)
        return signal[:, dropped:done], None if final else (signal[:, done:].clone(), skip - dropped)


def _basis(size: int) -> Tensor:
    """Return the windowed cosines (N, 2 N)."""
    n = torch.arange(2 * size, dtype=torch.float64) + 0.5
    k = torch.arange(size, dtype=torch.float64)[:, None] + 0.5
    cosines = torch.cos(math.pi / size * (n + size / 2) * k)
    return (math.sqrt(2 / size) * torch.sin(math.pi * n / (2 * size)) * cosines).float()
