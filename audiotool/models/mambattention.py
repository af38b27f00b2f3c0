"""MambAttention: bidirectional Mamba along time and along frequency, with one attention shared by both.

Kühne, Østergaard, Jensen, Tan: MambAttention: Mamba with Multi-Head Attention for Generalizable
Single-Channel Speech Enhancement, 2025, arXiv:2507.00966.

The selective scan is plain PyTorch (layers/selective_scan.py) and needs no compiled kernels.

Streaming: attention, the backward scans and instance norms use a whole segment, so the model runs by
overlap-add, and the streamed output differs from the whole-file output. scripts/measure_overlap_add.py
measures the difference for a checkpoint.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

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
from audiotool.models.layers.selective_scan import selective_scan
from audiotool.models.magnitude_phase import MagnitudePhaseModel


@dataclass(frozen=True)
class MambAttentionConfig:
    """Hyper-parameters; the defaults are the published network (2,325,841 parameters).

    Args:
        sample_rate: Hz.
        hid_feature: channels; a multiple of n_heads.
        num_tfmamba: time-frequency blocks.
        d_state: state size of each Mamba feature.
        d_conv: taps of Mamba's causal convolution.
        expand: Mamba's inner features in multiples of hid_feature.
        norm_epsilon: epsilon of the norm before each Mamba.
        beta: largest value of the magnitude mask.
        n_fft: samples, a multiple of 4.
        compress_factor: exponent of the magnitude.
        attention: kind of the shared attention; the published network computes "memory-efficient".
        attention_window: window in frames for kind "windowed".
    """

    sample_rate: Rate = 16000
    hid_feature: Width = 64
    num_tfmamba: Depth = 4
    n_heads: Depth = 8
    d_state: Width = 16
    d_conv: Width = 4
    expand: Depth = 4
    norm_epsilon: Positive = 1e-5
    beta: Positive = 2.0
    n_fft: Length = 400
    hop_length: Length = 100
    win_length: Length = 400
    compress_factor: Positive = 0.3
    attention: Kind = "memory-efficient"
    attention_window: Extent | None = None

    def __post_init__(self) -> None:
        check_frames(self.n_fft, self.hop_length, self.win_length, whole_hops=False)
        if self.n_fft % 4:
            raise ValueError(f"n_fft must be a multiple of 4, got {self.n_fft}")
        if self.hid_feature % self.n_heads:
            raise ValueError(f"{self.n_heads} heads do not divide {self.hid_feature} channels")


class MambaMixer(nn.Module):
    """Mamba's selective state space layer: (B, T, C) -> (B, T, C), causal."""

    def __init__(self, config: MambAttentionConfig) -> None:
        super().__init__()
        dim, inner, size = config.hid_feature, config.expand * config.hid_feature, config.d_state
        self.rank = math.ceil(dim / 16)
        self.size = size
        self.in_proj = nn.Linear(dim, 2 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, config.d_conv, groups=inner, padding=config.d_conv - 1)
        self.x_proj = nn.Linear(inner, self.rank + 2 * size, bias=False)
        self.dt_proj = nn.Linear(self.rank, inner)
        self.A_log = nn.Parameter(torch.arange(1, size + 1, dtype=torch.float32).log().repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, dim, bias=False)
        self._initialise()

    def _initialise(self) -> None:
        """Initialise as Mamba does: step sizes at a zero input are drawn log-uniformly from 0.001 to 0.1."""
        bound = self.rank**-0.5
        nn.init.uniform_(self.dt_proj.weight, -bound, bound)
        with torch.no_grad():
            exponent = torch.rand_like(self.dt_proj.bias) * math.log(100)
            step = (1e-3 * exponent.exp()).clamp(min=1e-4)
            self.dt_proj.bias.copy_(step + torch.log(-torch.expm1(-step)))  # the inverse of softplus

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        u, z = self.in_proj(x).transpose(1, 2).chunk(2, dim=1)  # (B, inner, T)
        u = F.silu(self.conv1d(u)[..., :length])
        step, b, c = self.x_proj(u.transpose(1, 2)).split((self.rank, self.size, self.size), dim=-1)
        y, _ = selective_scan(
            u,
            F.linear(step, self.dt_proj.weight).transpose(1, 2),
            -self.A_log.float().exp(),
            b.transpose(1, 2),
            c.transpose(1, 2),
            self.D,
            z,
            self.dt_proj.bias,
            delta_softplus=True,
        )
        return self.out_proj(y.transpose(1, 2))


class MambaBlock(nn.Module):
    """Root-mean-square norm, mixer, residual: (B, T, C) -> (B, T, C)."""

    def __init__(self, config: MambAttentionConfig) -> None:
        super().__init__()
        self.mixer = MambaMixer(config)
        self.norm = nn.RMSNorm(config.hid_feature, eps=config.norm_epsilon)

    def forward(self, x: Tensor) -> Tensor:
        return self.mixer(self.norm(x)) + x


class BidirectionalMamba(nn.Module):
    """One block forwards and one backwards, concatenated: (B, T, C) -> (B, T, 2C)."""

    def __init__(self, config: MambAttentionConfig) -> None:
        super().__init__()
        self.forward_blocks = nn.ModuleList([MambaBlock(config)])
        self.backward_blocks = nn.ModuleList([MambaBlock(config)])

    def forward(self, x: Tensor) -> Tensor:
        ahead, back = x, x.flip(1)
        for block in self.forward_blocks:
            ahead = block(ahead)
        for block in self.backward_blocks:
            back = block(back)
        return torch.cat((ahead, back.flip(1)), dim=-1)


class NormedAttention(nn.Module):
    """LayerNorm, attention, residual: (B, T, C) -> (B, T, C)."""

    def __init__(self, config: MambAttentionConfig) -> None:
        super().__init__()
        self.layernorm = nn.LayerNorm(config.hid_feature)
        self.attn = SelfAttention(
            config.hid_feature, config.n_heads, config.attention, config.attention_window
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.attn(self.layernorm(x))[0] + x


class TimeFrequencyBlock(nn.Module):
    """Attention and Mamba along time, then the same attention and another Mamba along frequency.

    (B, C, T, F) -> (B, C, T, F).
    """

    def __init__(self, config: MambAttentionConfig) -> None:
        super().__init__()
        self.attention = NormedAttention(config)
        self.time_mamba = BidirectionalMamba(config)
        self.freq_mamba = BidirectionalMamba(config)
        self.tlinear = nn.ConvTranspose1d(2 * config.hid_feature, config.hid_feature, 1)
        self.flinear = nn.ConvTranspose1d(2 * config.hid_feature, config.hid_feature, 1)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, frames, bins = x.shape
        x = x.permute(0, 3, 2, 1).reshape(batch * bins, frames, -1)  # (B F, T, C)
        x = self._along(x, self.time_mamba, self.tlinear)
        x = x.unflatten(0, (batch, bins)).transpose(1, 2).reshape(batch * frames, bins, -1)  # (B T, F, C)
        x = self._along(x, self.freq_mamba, self.flinear)
        return x.unflatten(0, (batch, frames)).permute(0, 3, 1, 2)

    def _along(self, x: Tensor, mamba: nn.Module, linear: nn.Module) -> Tensor:
        x = self.attention(x)
        return linear(mamba(x).transpose(1, 2)).transpose(1, 2) + x


def _upsampling(channels: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(channels, channels, (1, 3), (1, 2))


class MambAttention(MagnitudePhaseModel):
    """Denoise a waveform (B, 1, T) -> (B, 1, T)."""

    name = "mambattention"
    config_class = MambAttentionConfig
    blocks = "TFMambAttention"
    small: ClassVar[dict[str, Any]] = {"hid_feature": 8, "num_tfmamba": 1, "d_state": 4, "expand": 2}
    reference = "Kühne et al., MambAttention, 2025, arXiv:2507.00966"
    scores_reanalysis = False
    sequential = True

    def __init__(self, config: MambAttentionConfig) -> None:
        super().__init__(config)
        self.sample_rate = config.sample_rate
        self.hop_length = config.hop_length
        framing = (config.n_fft, config.hop_length, config.win_length, config.compress_factor)
        self.transform = MagnitudePhase(*framing)
        self.reanalysis = MagnitudePhase(*framing, power_offset=1e-10, phase_offsets=(1e-10, 1e-10))
        self.dense_encoder = DenseEncoder(config.hid_feature, causal=False, frequency_padding=0)
        self.TFMambAttention = nn.ModuleList(TimeFrequencyBlock(config) for _ in range(config.num_tfmamba))
        channels = config.hid_feature
        self.mask_decoder = MaskDecoder(
            DenseBlock(channels, causal=False),
            nn.Sequential(
                _upsampling(channels),
                *convolution_norm(nn.Conv2d(channels, 1, 1), 1),
                nn.Conv2d(1, 1, 1),
            ),
            config.n_fft // 2 + 1,
            config.beta,
        )
        self.phase_decoder = PhaseDecoder(
            DenseBlock(channels, causal=False),
            convolution_norm(_upsampling(channels), channels),
            channels,
            kernel_size=1,
        )
