"""FastEnhancer: convolutions along frequency, and blocks of a GRU over time and attention over frequency.

Ahn, Han, Chang, Hong, Kim, Kim, Choi: FastEnhancer: Speed-Optimized Streaming Neural Speech Enhancement,
2025, arXiv:2509.21867. Names and defaults are those of the published size S; `SIZES` has all five.

    spec -> |X|^0.3 -> convolutions (C, 64 bins) -> fewer bins F', features C' -> blocks -> back -> mask

Convolutions work along frequency in each frame. The state is one GRU state for each of the F' reduced bins.
Attention runs over the bins of a frame. The highest bin is dropped.

Published networks do not normalise levels. With `level_seconds`, spectra are divided by a running level, so
that the output does not depend on the input's level. Latency is the STFT's: n_fft - 1 samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiotool.configuration import Depth, Length, Positive, Rate, Seconds, Width
from audiotool.dsp.framing import check_frames
from audiotool.dsp.level import Level
from audiotool.dsp.stft import StreamingISTFT, StreamingSTFT
from audiotool.models.base import Model, State
from audiotool.models.layers.levelled_spectrum import LevelledSpectrum
from audiotool.models.layers.recurrent import GRU

QUIETEST = 1e-5
"""Floor of the magnitudes in the compression."""


@dataclass(frozen=True)
class FastEnhancerConfig:
    """Hyper-parameters; the defaults are the published size S (194,418 parameters, norms folded).

    Args:
        sample_rate: Hz.
        n_fft, hop_length: samples; n_fft / 2 bins are a multiple of `stride`. Frames need not be whole hops:
            the published sizes M and L have 3.2 and 5.12.
        channels: channels of the convolutions.
        kernel_sizes: bins of the kernels: of the first convolution, which has `stride`, and of the others.
        stride: bins of the spectrum per bin of the network.
        blocks: number of blocks of GRU and attention.
        block_channels, block_bins: features and bins in them.
        heads: number of attention heads.
        compression: exponent of the magnitudes in the network's input.
        batch_norm: normalise activations, as in training; False for folded weights.
        level_seconds: time constant of the running level by which spectra are divided; None divides by
            nothing.
    """

    sample_rate: Rate = 16000
    n_fft: Length = 512
    hop_length: Length = 256
    channels: Width = 64
    kernel_sizes: tuple[Length, ...] = (8, 3, 3, 3)
    stride: Length = 4
    blocks: Depth = 3
    block_channels: Width = 48
    block_bins: Width = 36
    heads: Depth = 4
    compression: Positive = 0.3
    batch_norm: bool = True
    level_seconds: Seconds | None = None

    def __post_init__(self) -> None:
        check_frames(self.n_fft, self.hop_length, whole_hops=False)
        if self.n_fft % (2 * self.stride) or (self.kernel_sizes[0] - self.stride) % 2:
            raise ValueError(
                f"stride {self.stride} does not divide {self.n_fft // 2} bins, or not into the kernel"
                f" {self.kernel_sizes[0]} with as much on either side"
            )
        if any(size % 2 == 0 for size in self.kernel_sizes[1:]):
            raise ValueError(f"kernel_sizes {self.kernel_sizes}: all but the first are odd")
        if self.block_channels % self.heads:
            raise ValueError(f"{self.heads} heads do not divide {self.block_channels} features")
        if not 2 <= self.block_bins <= self.bins:
            raise ValueError(f"block_bins {self.block_bins} lies outside 2 to {self.bins}")

    @property
    def bins(self) -> int:
        """Return the number of bins in the convolutions."""
        return self.n_fft // 2 // self.stride


SIZES: dict[str, dict[str, Any]] = {
    "T": {"channels": 24, "kernel_sizes": (8, 3, 3), "blocks": 2, "block_channels": 20, "block_bins": 16},
    "B": {"channels": 48, "kernel_sizes": (8, 3, 3), "blocks": 3, "block_channels": 36, "block_bins": 24},
    "S": {},
    "M": {"channels": 96, "blocks": 4, "block_channels": 72, "block_bins": 48, "hop_length": 160},
    "L": {
        "channels": 128,
        "kernel_sizes": (8, 3, 3, 3, 3),
        "blocks": 5,
        "block_channels": 96,
        "block_bins": 64,
        "hop_length": 100,
    },
}
"""Published size -> its values that differ from the defaults."""


class Norm(nn.BatchNorm1d):
    """Batch norm over the second axis of (N, C, F), or the last of (…, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if x.dim() == 3 else super().forward(x.flatten(0, -2)).view_as(x)


def _norm(config: FastEnhancerConfig, channels: int) -> nn.Module:
    return Norm(channels) if config.batch_norm else nn.Identity()


def _conv(config: FastEnhancerConfig, inner: int, outer: int, kernel_size: int = 1) -> nn.Sequential:
    """Return a convolution that keeps the number of bins, and its norm."""
    bias = not config.batch_norm
    conv = nn.Conv1d(inner, outer, kernel_size, padding=kernel_size // 2, bias=bias)
    return nn.Sequential(conv, _norm(config, outer))


def reduction(bins: int, fewer: int) -> Tensor:
    """Return overlapping triangles, evenly spaced: (fewer, bins), each row with the sum 1."""
    centres = torch.linspace(0, bins - 1, fewer)
    distance = (torch.arange(bins) - centres[:, None]).abs() * (fewer - 1) / (bins - 1)
    weights = (1 - distance).clamp(min=0)
    return weights / weights.sum(1, keepdim=True)


class Attention(nn.Module):
    """Attention between the bins of a frame: (N, F, D) -> (N, F, D), the heads' values concatenated."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        # Query, key and value of a head are adjacent.
        packed = self.qkv(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
        query, key, value = packed.chunk(3, dim=3)
        return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)


class RNNFormerBlock(nn.Module):
    """A GRU over time in each bin, then attention over the bins, each with a residual; (T, B, F, D).

    State: the GRU's, (B, F, D).
    """

    def __init__(self, config: FastEnhancerConfig, first: bool) -> None:
        super().__init__()
        dim, bias = config.block_channels, not config.batch_norm
        self.rnn = GRU(dim, dim)
        self.rnn_fc = nn.Linear(dim, dim, bias=bias)
        self.rnn_norm = _norm(config, dim)
        # Only the first block adds the position of the bins.
        self.pe = nn.Parameter(_positions(config.block_bins, dim)) if first else None
        self.attn = Attention(dim, config.heads)
        self.attn_fc = nn.Linear(dim, dim, bias=bias)
        self.attn_norm = _norm(config, dim)

    def forward(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        hidden = None if state is None else state.flatten(0, 1)[None]
        y, hidden = self.rnn(x.flatten(1, 2), hidden)
        x = x + self.rnn_norm(self.rnn_fc(y).view_as(x))
        if self.pe is not None:
            x = x + self.pe
        y = self.attn(x.flatten(0, 1)).view_as(x)
        return x + self.attn_norm(self.attn_fc(y)), hidden[0].unflatten(0, x.shape[1:3])


def _positions(bins: int, dim: int) -> Tensor:
    """Return (bins, dim) sines and cosines along frequency, from slow to fast."""
    angle = torch.arange(1, bins + 1) * (torch.pi / bins)
    rate = torch.logspace(0, 1, dim // 2, base=max(bins - 1, 2))
    grid = angle[:, None] * rate
    return F.pad(torch.cat((grid.sin(), grid.cos()), dim=1), (0, dim % 2))


class FastEnhancer(Model):
    """Denoise a waveform (B, 1, T) -> (B, 1, T)."""

    name = "fastenhancer"
    config_class = FastEnhancerConfig
    small: ClassVar[dict[str, Any]] = {
        "channels": 8,
        "kernel_sizes": (8, 3),
        "blocks": 2,
        "block_channels": 8,
        "block_bins": 6,
        "heads": 2,
    }
    reference = (
        "Ahn et al., FastEnhancer: Speed-Optimized Streaming Neural Speech Enhancement, arXiv:2509.21867"
    )
    state_meanings: ClassVar[dict[str, str]] = {
        "analysis.0": "samples that the next frame begins with",
        "analysis.1": "running level: mean power, and the weight it has gathered",
        "blocks": "the hidden state of a block's GRU",
        "synthesis.0": "sums that the next frame still adds to",
    }

    down: Tensor
    up: Tensor

    def __init__(self, config: FastEnhancerConfig) -> None:
        super().__init__(config)
        c = config
        self.sample_rate = c.sample_rate
        self.hop_length = c.hop_length
        self.latency = c.n_fft - 1
        window = "hann" if c.level_seconds is None else "sqrt_hann"
        self.analysis: StreamingSTFT | LevelledSpectrum
        if c.level_seconds is None:
            self.analysis = StreamingSTFT(c.n_fft, c.hop_length, window=window)
        else:
            self.analysis = LevelledSpectrum(c.n_fft, c.hop_length, c.level_seconds, c.sample_rate)
        self.synthesis = StreamingISTFT(c.n_fft, c.hop_length, window=window)
        first, *others = c.kernel_sizes
        edge, bias = (first - c.stride) // 2, not c.batch_norm
        self.enc_pre = nn.Sequential(
            nn.Conv1d(2, c.channels, first, c.stride, edge, bias=bias), _norm(c, c.channels)
        )
        self.encoder = nn.ModuleList(_conv(c, c.channels, c.channels, size) for size in others)
        fewer = reduction(c.bins, c.block_bins)
        self.register_buffer("down", fewer)
        self.register_buffer("up", fewer.T / fewer.sum(0)[:, None])
        self.rf_pre = _conv(c, c.channels, c.block_channels)
        self.blocks = nn.ModuleList(RNNFormerBlock(c, n == 0) for n in range(c.blocks))
        self.rf_post = _conv(c, c.block_channels, c.channels)
        self.decoder = nn.ModuleList(
            nn.ModuleList([_conv(c, 2 * c.channels, c.channels), _conv(c, c.channels, c.channels, size)])
            for size in reversed(others)
        )
        self.dec_post = _conv(c, 2 * c.channels, c.channels)
        self.mask = nn.ConvTranspose1d(c.channels, 2, first, c.stride, edge)
        with torch.no_grad():
            # As published, the mask's weights are initialised with norm 1, so that the output is small.
            self.mask.weight.div_(self.mask.weight.norm())

    def start(self, level: Level[Tensor] | None = None, **conditions: Any) -> State:
        return {"analysis": None, "blocks": [None] * len(self.blocks), "synthesis": None}

    def step(self, x: Tensor, state: State = None, final: bool = False) -> tuple[Tensor, State]:
        state = dict(self.start() if state is None else state)
        spec, state["analysis"] = self.analysis(x[:, 0], state["analysis"], final)
        spec, levels = spec if isinstance(spec, tuple) else (spec, None)
        if spec.shape[-1]:
            parts = torch.stack((spec.real, spec.imag), dim=1)
            parts = parts if levels is None else parts / levels[:, None]
            parts, state["blocks"] = self.enhance(parts, state["blocks"])
            parts = parts if levels is None else parts * levels[:, None]
            spec = torch.complex(parts[:, 0], parts[:, 1])
        y, state["synthesis"] = self.synthesis(spec, state["synthesis"], final)
        return y[:, None], state

    def enhance(self, spec: Tensor, states: list[State]) -> tuple[Tensor, list[State]]:
        """Enhance spectra (B, 2, n_fft / 2 + 1, T), real and imaginary, T > 0; also return the states."""
        power = self.config.compression
        spec = spec[:, :, :-1]
        loudness = spec.square().sum(1, keepdim=True).clamp(min=QUIETEST**2)
        spec = spec * loudness.pow((power - 1) / 2)
        mask, states = self._network(spec, states)
        (real, imag), (mask_real, mask_imag) = spec.unbind(1), mask.unbind(1)
        out = torch.stack((real * mask_real - imag * mask_imag, real * mask_imag + imag * mask_real), dim=1)
        # The exponent is above 1, so that the gradient is finite in silence.
        out = out * out.square().sum(1, keepdim=True).pow((1 / power - 1) / 2)
        return F.pad(out, (0, 0, 0, 1)), states

    def _network(self, spec: Tensor, states: list[State]) -> tuple[Tensor, list[State]]:
        """Return the complex mask (B, 2, F, T) of compressed spectra (B, 2, F, T)."""
        batch, frames = spec.shape[0], spec.shape[3]
        x = F.silu(self.enc_pre(spec.permute(0, 3, 1, 2).flatten(0, 1)))
        skips = [x]
        for conv in self.encoder:
            x = F.silu(conv(x))
            skips.append(x)
        x = self.rf_pre(F.linear(x, self.down))
        x = x.unflatten(0, (batch, frames)).permute(1, 0, 3, 2)
        states = list(states)
        for n, block in enumerate(self.blocks):
            x, states[n] = block(x, states[n])
        x = x.permute(1, 0, 3, 2).flatten(0, 1)
        x = self.rf_post(F.linear(x, self.up))
        for pair in self.decoder:
            mix, conv = cast(nn.ModuleList, pair)
            x = F.silu(conv(F.silu(mix(torch.cat((x, skips.pop()), dim=1)))))
        x = self.mask(F.silu(self.dec_post(torch.cat((x, skips.pop()), dim=1))))
        return x.unflatten(0, (batch, frames)).permute(0, 2, 3, 1), states
