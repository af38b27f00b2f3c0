"""MP-SENet: explicit enhancement of magnitude and phase with two-stage transformers.

Lu, Ai, Ling: MP-SENet: A Speech Enhancement Model with Parallel Denoising of Magnitude and Phase Spectra,
Interspeech 2023, arXiv:2305.13686; Explicit Estimation of Magnitude and Phase Spectra in Parallel for
High-Quality Speech Enhancement, Neural Networks 189, 2025, arXiv:2308.08926.

The published attention and GRUs expect the sequence on the first axis, but it is on the second: the "time"
stage then runs over all frequencies (of all items of a batch) frame by frame, and the "frequency" stage over
all frames, bin by bin. Published weights need this; `sequence_axis="intended"` gives each stage its axis and
makes the items of a batch independent.

Streaming: attention, recurrence and instance norms use a whole segment, so the model runs by overlap-add, and
the streamed output differs from the whole-file output. With the random weights of the parity pack, 9 s in
segments of 4 s with one second of cross-fade, the difference is 39 dB below the output.
scripts/measure_overlap_add.py measures it for a checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiotool.configuration import Depth, Extent, Length, Positive, Rate, Width
from audiotool.dsp.framing import check_frames
from audiotool.dsp.magnitude_phase import MagnitudePhase
from audiotool.models.layers.attention import Kind, SelfAttention
from audiotool.models.layers.dense import (
    DenseBlock,
    DenseEncoder,
    MaskDecoder,
    PhaseDecoder,
    convolution_norm,
)
from audiotool.models.magnitude_phase import MagnitudePhaseModel


@dataclass(frozen=True)
class MPSENetConfig:
    """Hyper-parameters; the defaults are the published network (2,263,372 parameters).

    Args:
        sample_rate: Hz.
        n_fft: samples, a multiple of 4.
        compress_factor: exponent of the magnitude.
        beta: largest value of the magnitude mask.
        sequence_axis: "published" or "intended", see the module docstring.
        attention: kind of the transformers' attention; the published network computes "memory-efficient".
        attention_window: window in frames for kind "windowed".
    """

    sample_rate: Rate = 16000
    dense_channel: Width = 64
    n_blocks: Depth = 4
    n_heads: Depth = 4
    n_fft: Length = 400
    hop_length: Length = 100
    win_length: Length = 400
    compress_factor: Positive = 0.3
    beta: Positive = 2.0
    sequence_axis: Literal["published", "intended"] = "published"
    attention: Kind = "memory-efficient"
    attention_window: Extent | None = None

    def __post_init__(self) -> None:
        check_frames(self.n_fft, self.hop_length, self.win_length, whole_hops=False)
        if self.n_fft % 4:
            raise ValueError(f"n_fft must be a multiple of 4, got {self.n_fft}")
        if self.dense_channel % self.n_heads:
            raise ValueError(f"{self.n_heads} heads do not divide {self.dense_channel} channels")


class RecurrentFeedForward(nn.Module):
    """Bidirectional GRU, leaky ReLU, linear: (B, T, C) -> (B, T, C)."""

    def __init__(self, dim: int, batch_first: bool) -> None:
        super().__init__()
        self.gru = nn.GRU(dim, 2 * dim, bidirectional=True, batch_first=batch_first)
        self.linear = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(F.leaky_relu(self.gru(x)[0]))


class Transformer(nn.Module):
    """Pre-norm attention and recurrent feed-forward, then a last norm: (B, T, C) -> (B, T, C)."""

    def __init__(self, config: MPSENetConfig) -> None:
        super().__init__()
        dim = config.dense_channel
        self.batch_first = config.sequence_axis == "intended"
        self.norm1 = nn.LayerNorm(dim)
        self.attention = SelfAttention(dim, config.n_heads, config.attention, config.attention_window)
        self.norm2 = nn.LayerNorm(dim)
        self.ffn = RecurrentFeedForward(dim, self.batch_first)
        self.norm3 = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm1(x)
        if self.batch_first:
            attended, _ = self.attention(normed)
        else:
            attended = self.attention(normed.transpose(0, 1))[0].transpose(0, 1)
        x = x + attended
        return self.norm3(x + self.ffn(self.norm2(x)))


class TwoStageBlock(nn.Module):
    """A transformer along time, then one along frequency, each with a residual; (B, C, T, F)."""

    def __init__(self, config: MPSENetConfig) -> None:
        super().__init__()
        self.time_transformer = Transformer(config)
        self.freq_transformer = Transformer(config)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, frames, bins = x.shape
        x = x.permute(0, 3, 2, 1).reshape(batch * bins, frames, -1)  # (B F, T, C)
        x = self.time_transformer(x) + x
        x = x.unflatten(0, (batch, bins)).transpose(1, 2).reshape(batch * frames, bins, -1)  # (B T, F, C)
        x = self.freq_transformer(x) + x
        return x.unflatten(0, (batch, frames)).permute(0, 3, 1, 2)


class SubPixelConvolution(nn.Module):
    """A convolution to twice the channels, interleaved along frequency: (B, C, T, F) -> (B, C, T, 2F)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 2 * channels, (1, 3), padding=(0, 1))

    def forward(self, x: Tensor) -> Tensor:
        even, odd = self.conv(x).chunk(2, dim=1)
        return torch.stack((even, odd), dim=-1).flatten(-2)


def _upsampling(channels: int) -> nn.Sequential:
    return convolution_norm(SubPixelConvolution(channels), channels)


class MPSENet(MagnitudePhaseModel):
    """Enhance a waveform (B, 1, T) -> (B, 1, T)."""

    name = "mp-senet"
    gives = ("speech", "wide-band")
    config_class = MPSENetConfig
    blocks = "TSTransformer"
    small: ClassVar[dict[str, Any]] = {"dense_channel": 8, "n_blocks": 1}
    reference = "Lu et al., MP-SENet, Interspeech 2023, arXiv:2305.13686"

    def __init__(self, config: MPSENetConfig) -> None:
        super().__init__(config)
        self.sample_rate = config.sample_rate
        self.hop_length = config.hop_length
        self.couples_batch = config.sequence_axis == "published"
        self.transform = self.reanalysis = MagnitudePhase(
            config.n_fft,
            config.hop_length,
            config.win_length,
            config.compress_factor,
            power_offset=1e-9,
            phase_offsets=(1e-5, 1e-10),
        )
        self.dense_encoder = DenseEncoder(config.dense_channel, causal=True, frequency_padding=1)
        self.TSTransformer = nn.ModuleList(TwoStageBlock(config) for _ in range(config.n_blocks))
        channels = config.dense_channel
        self.mask_decoder = MaskDecoder(
            DenseBlock(channels, causal=True),
            nn.Sequential(*_upsampling(channels), nn.Conv2d(channels, 1, (1, 2))),
            config.n_fft // 2 + 1,
            config.beta,
        )
        self.phase_decoder = PhaseDecoder(
            DenseBlock(channels, causal=True), _upsampling(channels), channels, kernel_size=2
        )
