"""AFiLM and TFiLM: audio super-resolution by a U-Net whose features are modulated block by block.

Rakotonirina: Self-Attention for Audio Super-Resolution, MLSP 2021, arXiv:2108.11637 (AFiLM). Birnbaum,
Kuleshov, Enam, Koh, Ermon: Temporal FiLM, NeurIPS 2019, arXiv:1909.06628 (TFiLM).

The input is the low-rate signal resampled to the target rate; the network adds the missing band. It processes
patches of 8192 samples independently, so a stream is exact: a patch is processed when it is full, and the
last one is filled with zeros. Within a patch every output depends on every input.

    level l    conv, max pool 2, LeakyReLU, modulation in blocks of 128 / 2^l ─── skip ──┐
    bottleneck conv, max pool 2, LeakyReLU, modulation                                   │
    level l    conv, ReLU, sub-pixel x 2, modulation, concatenation ─────────────────────┘
    output     conv, sub-pixel x 2, plus the input

Modulation: the maximum of each block of samples, as a sequence, goes through a transformer (AFiLM) or an LSTM
(TFiLM), and the result multiplies all samples of its block.

The published AFiLM keeps its transformer's dropout on in inference, so that its output is random. Here
dropout is off outside training.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiotool.configuration import Depth, Extent, Fraction, Length, Rate, Width
from audiotool.models.base import Model, State
from audiotool.models.layers.attention import KINDS, Kind, SelfAttention

SLOPE = 0.2
"""Negative slope of the LeakyReLU in the encoder."""

DILATION = 2
"""Dilation of every convolution but the last."""


@dataclass(frozen=True)
class TFiLMConfig:
    """Hyper-parameters; the defaults are the published ones for 4 layers.

    Args:
        sample_rate: Hz of input and output.
        filters: channels of each level.
        kernel_sizes: taps of each level.
        bottleneck_filters, bottleneck_kernel_size, output_kernel_size: sizes of the other two convolutions.
        patch_length: samples that are processed together; a multiple of 2 * first_block.
        first_block: samples of a modulation block at the first level, halved at each further one; the decoder
            uses the bottleneck's everywhere.
        dropout: probability after the convolutions of bottleneck and decoder.
    """

    sample_rate: Rate = 16000
    filters: tuple[Width, ...] = (128, 256, 512, 512)
    kernel_sizes: tuple[Length, ...] = (65, 33, 17, 9)
    bottleneck_filters: Width = 512
    bottleneck_kernel_size: Length = 9
    output_kernel_size: Length = 9
    patch_length: Extent = 8192
    first_block: Extent = 128
    dropout: Fraction = 0.5

    def __post_init__(self) -> None:
        if len(self.filters) != len(self.kernel_sizes):
            raise ValueError(f"{len(self.filters)} filters but {len(self.kernel_sizes)} kernel_sizes")
        if self.first_block % 2 ** len(self.filters):
            raise ValueError(f"first_block {self.first_block} cannot be halved at each of the levels")
        if self.patch_length % (2 * self.first_block):
            raise ValueError(f"patch_length {self.patch_length} is not a multiple of {2 * self.first_block}")


@dataclass(frozen=True)
class AFiLMConfig(TFiLMConfig):
    """Hyper-parameters of TFiLM and of its transformers; the published network has 134,723,842 parameters.

    Args:
        heads: number of attention heads; every number of channels is a multiple of it.
        transformer_layers, transformer_inner_dim: sizes of each modulation's transformer.
        attention: kind of attention (audiotool.models.layers.attention), not windowed; published: full, to
            which memory-efficient is equal.
        attention_dropout: within the transformer, in training only.
    """

    heads: Depth = 8
    transformer_layers: Depth = 4
    transformer_inner_dim: Width = 2048
    attention: Kind = "memory-efficient"
    attention_dropout: Fraction = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.attention not in KINDS or self.attention == "windowed":
            allowed = "full, memory-efficient, multi-query or linear"
            raise ValueError(f"attention is {allowed}, not '{self.attention}'")
        for channels in (*self.filters, self.bottleneck_filters):
            if channels % self.heads:
                raise ValueError(f"{self.heads} heads do not divide {channels} channels")


def sub_pixel(x: Tensor) -> Tensor:
    """(B, 2 C, T) -> (B, C, 2 T): the first half of the channels becomes the even samples."""
    return torch.stack(x.chunk(2, dim=1), dim=-1).flatten(2)


def positional_code(length: int, dim: int, like: Tensor) -> Tensor:
    """Return sines on even and cosines on odd features, (length, dim)."""
    feature = torch.arange(dim, device=like.device)
    rate = 10000.0 ** (-(feature - feature % 2) / dim)
    angle = torch.arange(length, device=like.device)[:, None] * rate
    return torch.where(feature % 2 == 0, angle.sin(), angle.cos()).to(like)


class SameConv1d(nn.Conv1d):
    """Convolution with as many outputs as inputs; of an odd number of zeros the larger part is at the end."""

    def __init__(self, inputs: int, outputs: int, kernel_size: int, dilation: int = DILATION) -> None:
        super().__init__(inputs, outputs, kernel_size, dilation=dilation)
        nn.init.orthogonal_(self.weight)
        nn.init.zeros_(self.bias)  # type: ignore[arg-type]
        total = (kernel_size - 1) * dilation
        self.edges = (total // 2, total - total // 2)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, self.edges))


class EncoderLayer(nn.Module):
    """Self-attention and two linear layers, each added and normalised (B, T, D)."""

    def __init__(self, dim: int, config: AFiLMConfig) -> None:
        super().__init__()
        self.attention = SelfAttention(dim, config.heads, config.attention)
        self.attention_norm = nn.LayerNorm(dim, eps=1e-6)
        self.expand = nn.Linear(dim, config.transformer_inner_dim)
        self.compress = nn.Linear(config.transformer_inner_dim, dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.dropout = nn.Dropout(config.attention_dropout)

    def forward(self, x: Tensor) -> Tensor:
        attended, _ = self.attention(x)
        x = self.attention_norm(x + self.dropout(attended))
        return self.norm(x + self.dropout(self.compress(F.relu(self.expand(x)))))


class AttentionModulation(nn.Module):
    """Transformer over the blocks' maxima (B, T, D); not causal."""

    def __init__(self, dim: int, config: AFiLMConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(dim, config) for _ in range(config.transformer_layers))
        self.dropout = nn.Dropout(config.attention_dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x * math.sqrt(x.shape[-1]) + positional_code(x.shape[1], x.shape[2], x)
        x = self.dropout(x)
        for layer in self.layers:
            x = layer(x)
        return x


class RecurrentModulation(nn.Module):
    """LSTM over the blocks' maxima (B, T, D)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(dim, dim, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.lstm(x)[0]


def modulate(x: Tensor, block: int, modulation: nn.Module) -> Tensor:
    """Multiply each block of (B, C, T) by the output of `modulation` for the blocks' maxima."""
    factors = modulation(F.max_pool1d(x, block).transpose(1, 2)).transpose(1, 2)
    return (x.unflatten(-1, (-1, block)) * factors[..., None]).flatten(2)


class Down(nn.Module):
    """Halve (B, inputs, T) to (B, outputs, T / 2), modulated in blocks of `block`."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel_size: int,
        block: int,
        modulation: nn.Module,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.conv = SameConv1d(inputs, outputs, kernel_size)
        self.dropout = nn.Dropout(dropout)
        self.modulation = modulation
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.dropout(F.max_pool1d(self.conv(x), 2)), SLOPE)
        return modulate(x, self.block, self.modulation)


class Up(nn.Module):
    """Double (B, inputs, T) to (B, outputs, 2 T), modulated in blocks of `block`."""

    def __init__(
        self, inputs: int, outputs: int, kernel_size: int, block: int, modulation: nn.Module, dropout: float
    ) -> None:
        super().__init__()
        self.conv = SameConv1d(inputs, 2 * outputs, kernel_size)
        self.dropout = nn.Dropout(dropout)
        self.modulation = modulation
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        x = sub_pixel(F.relu(self.dropout(self.conv(x))))
        return modulate(x, self.block, self.modulation)


class TFiLM(Model):
    """Waveform (B, 1, T) -> (B, 1, T), patch by patch."""

    name = "tfilm"
    gives = ("wide-band",)
    config_class = TFiLMConfig
    small: ClassVar[dict[str, Any]] = {
        "filters": [4, 8],
        "kernel_sizes": [5, 3],
        "bottleneck_filters": 8,
        "bottleneck_kernel_size": 3,
        "patch_length": 512,
        "first_block": 8,
        "dropout": 0.0,
    }
    state_meanings: ClassVar[dict[str, str]] = {
        "patch": "samples of the patch that is not full: none after a hop"
    }
    reference = (
        "Birnbaum et al., Temporal FiLM: Capturing Long-Range Sequence Dependencies with Feature-Wise"
        " Modulations, NeurIPS 2019, arXiv:1909.06628"
    )

    def __init__(self, config: TFiLMConfig) -> None:
        super().__init__(config)
        c = config
        self.sample_rate = c.sample_rate
        self.hop_length = c.patch_length
        self.latency = c.patch_length - 1
        self.downs, self.ups = nn.ModuleList(), nn.ModuleList()
        inputs, block = 1, c.first_block
        for filters, size in zip(c.filters, c.kernel_sizes, strict=True):
            self.downs.append(Down(inputs, filters, size, block, self._modulation(filters)))
            inputs, block = filters, block // 2
        width, size = c.bottleneck_filters, c.bottleneck_kernel_size
        self.bottleneck = Down(inputs, width, size, block, self._modulation(width), c.dropout)
        inputs = width
        for filters, size in zip(reversed(c.filters), reversed(c.kernel_sizes), strict=True):
            self.ups.append(Up(inputs, filters, size, block, self._modulation(filters), c.dropout))
            inputs = 2 * filters
        self.output = SameConv1d(inputs, 2, c.output_kernel_size, dilation=1)
        nn.init.normal_(self.output.weight, std=0.05)

    def _modulation(self, dim: int) -> nn.Module:
        return RecurrentModulation(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Process whole patches, (B, 1, T) with T a multiple of 2 * first_block, each item a patch."""
        y, skips = x, []
        for down in self.downs:
            y = down(y)
            skips.append(y)
        y = self.bottleneck(y)
        for up in self.ups:
            y = torch.cat((up(y), skips.pop()), dim=1)
        return sub_pixel(self.output(y)) + x

    def step(self, x: Tensor, state: State = None, final: bool = False) -> tuple[Tensor, State]:
        """State: the samples of the patch that is not yet full."""
        if state is not None:
            x = torch.cat((state["patch"], x), dim=-1)
        length, patch = x.shape[-1], self.config.patch_length
        if final:
            x = F.pad(x, (0, -length % patch))
        whole = x.shape[-1] // patch * patch
        rest = {"patch": x[..., whole:].clone()}
        if whole == 0:
            return x[..., :0], rest
        patches = x[..., :whole].unflatten(-1, (-1, patch)).transpose(1, 2).flatten(0, 1)
        y = self(patches).unflatten(0, (x.shape[0], -1)).transpose(1, 2).flatten(2)
        return (y[..., :length] if final else y), rest


class AFiLM(TFiLM):
    """TFiLM's network with transformers for its modulation."""

    name = "afilm"
    config_class = AFiLMConfig
    small: ClassVar[dict[str, Any]] = {
        **TFiLM.small,
        "heads": 2,
        "transformer_layers": 1,
        "transformer_inner_dim": 16,
    }
    reference = "Rakotonirina, Self-Attention for Audio Super-Resolution, MLSP 2021, arXiv:2108.11637"

    def _modulation(self, dim: int) -> nn.Module:
        return AttentionModulation(dim, self.config)
