"""Layers of Hybrid Demucs: encoder and decoder levels, their residual branches, and levels split into bands.

Défossez: Hybrid Spectrogram and Waveform Source Separation, MDX Workshop 2021, arXiv:2111.03600. Names of
parameters are those of the official network, so that its files load.

A level works on a waveform's features (B, C, T), or on a spectrum's (B, C, F, T): its convolutions then run
along frequency and its residual branch along time, bin by bin.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LSTM_STEPS = 200
"""Number of steps of a frame: the LSTM of a residual branch processes longer sequences in overlapping
frames."""

HEADS, DECAYS = 4, 4
"""Number of heads of local attention, and of the rates of decay from which each query mixes its own."""


class LocalState(nn.Module):
    """Self-attention whose scores decay with distance, at rates that depend on the query; (B, C, T) -> the
    same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        if channels % HEADS:
            raise ValueError(f"{HEADS} heads of attention do not divide {channels} channels")
        self.content = nn.Conv1d(channels, channels, 1)
        self.query = nn.Conv1d(channels, channels, 1)
        self.key = nn.Conv1d(channels, channels, 1)
        self.query_decay = nn.Conv1d(channels, HEADS * DECAYS, 1)
        with torch.no_grad():
            # A small initial decay lets attention begin wide.
            self.query_decay.weight.mul_(0.01)
            cast(Tensor, self.query_decay.bias).fill_(-2.0)
        self.proj = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[-1]
        query, key, content = (
            layer(x).unflatten(1, (HEADS, -1)) for layer in (self.query, self.key, self.content)
        )
        places = torch.arange(length, device=x.device, dtype=x.dtype)
        distance = (places[:, None] - places[None, :]).abs()
        rates = torch.arange(1, DECAYS + 1, device=x.device, dtype=x.dtype) / math.sqrt(DECAYS)
        weights = torch.sigmoid(self.query_decay(x)).unflatten(1, (HEADS, -1)) / 2  # (B, H, decays, T)
        slope = (rates[:, None] * weights).sum(2)  # (B, H, T) of each query
        # Keys before queries, as softmax runs over keys.
        scores = key.transpose(2, 3) @ query / math.sqrt(key.shape[2]) - distance * slope[:, :, None]
        scores = scores.masked_fill(torch.eye(length, dtype=torch.bool, device=x.device), -100.0)
        return x + self.proj((content @ scores.softmax(2)).flatten(1, 2))


class FramedBLSTM(nn.Module):
    """Two bidirectional LSTM layers and a linear one, added to the input; (B, C, T) -> the same.

    Sequences over LSTM_STEPS are cut into frames that overlap by half; of each frame the middle is kept.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(channels, channels, num_layers=2, bidirectional=True)
        self.linear = nn.Linear(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[-1]
        if length <= LSTM_STEPS:
            return x + self._run(x)
        stride, limit = LSTM_STEPS // 2, LSTM_STEPS // 4
        frames = -(-length // stride)
        padded = F.pad(x, (0, (frames - 1) * stride + LSTM_STEPS - length))
        cut = padded.unfold(-1, LSTM_STEPS, stride).transpose(1, 2)  # (B, frames, C, steps)
        y = self._run(cut.flatten(0, 1)).unflatten(0, (-1, frames))
        middle = y[:, 1:-1, :, limit:-limit].transpose(1, 2).flatten(2)
        y = torch.cat((y[:, 0, :, :-limit], middle, y[:, -1, :, limit:]), dim=-1)
        return x + y[..., :length]

    def _run(self, x: Tensor) -> Tensor:
        return self.linear(self.lstm(x.permute(2, 0, 1))[0]).permute(1, 2, 0)


class LayerScale(nn.Module):
    """A learned gain for each channel."""

    def __init__(self, channels: int, initial: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((channels,), float(initial)))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale[:, None] * x


@dataclass(frozen=True)
class BranchShape:
    """Sizes of a level's residual branch.

    Args:
        depth: layers; a negative number leaves them undilated.
        compression: channels inside are divided by it.
        initial: gain at the beginning of training.
        attention, lstm: layers have local attention, an LSTM.
    """

    depth: int
    compression: float
    initial: float
    attention: bool
    lstm: bool


class ResidualBranch(nn.Module):
    """Dilated convolutions to fewer channels and back, each added to its input; (B, C, T) -> the same."""

    def __init__(self, channels: int, shape: BranchShape) -> None:
        super().__init__()
        hidden = int(channels / shape.compression)
        self.layers = nn.ModuleList()
        for n in range(abs(shape.depth)):
            dilation = 2**n if shape.depth > 0 else 1
            parts: list[nn.Module] = [
                nn.Conv1d(channels, hidden, 3, dilation=dilation, padding=dilation),
                nn.GroupNorm(1, hidden),
                nn.GELU(),
                *([FramedBLSTM(hidden)] if shape.lstm else []),
                *([LocalState(hidden)] if shape.attention else []),
                nn.Conv1d(hidden, 2 * channels, 1),
                nn.GroupNorm(1, 2 * channels),
                nn.GLU(1),
                LayerScale(channels, shape.initial),
            ]
            self.layers.append(nn.Sequential(*parts))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + layer(x)
        return x


@dataclass(frozen=True)
class LevelShape:
    """Sizes that a level's encoder and decoder share.

    Args:
        frequency: convolve along frequency, (B, C, F, T); False along time, (B, C, T).
        pads: the convolution is padded by a quarter of its kernel.
        norm_groups: groups of the group norms; None for a level without norms.
        rewrite: a gated convolution follows (encoder) or comes before (decoder).
        branch: shape of the residual branch; None for a level without one.
        meets: True for the last level along time, where the branches are joined and only the convolution is
            left.
    """

    frequency: bool
    kernel_size: int
    stride: int
    pads: bool
    norm_groups: int | None
    rewrite: bool
    branch: BranchShape | None
    meets: bool = False

    @property
    def padding(self) -> int:
        return self.kernel_size // 4 if self.pads else 0

    def norm(self, channels: int) -> nn.Module:
        return nn.Identity() if self.norm_groups is None else nn.GroupNorm(self.norm_groups, channels)

    def conv(self, inner: int, outer: int) -> nn.Module:
        if self.frequency:
            return nn.Conv2d(inner, outer, (self.kernel_size, 1), (self.stride, 1), (self.padding, 0))
        return nn.Conv1d(inner, outer, self.kernel_size, self.stride, self.padding)

    def conv_transposed(self, inner: int, outer: int) -> nn.Module:
        if self.frequency:
            return nn.ConvTranspose2d(inner, outer, (self.kernel_size, 1), (self.stride, 1))
        return nn.ConvTranspose1d(inner, outer, self.kernel_size, self.stride)

    def gate(self, channels: int, context: int, over_frequency: bool = True) -> nn.Module:
        """Return the gated convolution to twice the channels, with a kernel of `context` neighbours on each
        side."""
        size = 1 + 2 * context
        if not self.frequency:
            return nn.Conv1d(channels, 2 * channels, size, padding=context)
        if over_frequency:
            return nn.Conv2d(channels, 2 * channels, size, padding=context)
        return nn.Conv2d(channels, 2 * channels, (1, size), padding=(0, context))


def _along_time(branch: nn.Module, x: Tensor) -> Tensor:
    """Run a layer over (B, C, T) on (B, C, T), or on each bin of (B, C, F, T)."""
    if x.dim() == 3:
        return branch(x)
    return branch(x.transpose(1, 2).flatten(0, 1)).unflatten(0, (x.shape[0], -1)).transpose(1, 2)


class EncoderLevel(nn.Module):
    """Strided convolution, norm, residual branch, gated convolution."""

    def __init__(self, inner: int, outer: int, shape: LevelShape, context: int) -> None:
        super().__init__()
        self.shape = shape
        self.conv = shape.conv(inner, outer)
        if shape.meets:
            return
        self.norm1 = shape.norm(outer)
        if shape.rewrite:
            self.rewrite = shape.gate(outer, context)
            self.norm2 = shape.norm(2 * outer)
        if shape.branch is not None:
            self.dconv = ResidualBranch(outer, shape.branch)

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """Encode; `other` (B, C, T) is the output of the time branch, added where the branches are joined."""
        shape = self.shape
        if not shape.frequency:
            if x.dim() == 4:
                x = x.flatten(1, 2)
            x = F.pad(x, (0, -x.shape[-1] % shape.stride))
        y = self.conv(x)
        if shape.meets:
            return y
        if other is not None:
            y = y + (other[:, :, None] if y.dim() == 4 else other)
        y = F.gelu(self.norm1(y))
        if shape.branch is not None:
            y = _along_time(self.dconv, y)
        return F.glu(self.norm2(self.rewrite(y)), dim=1) if shape.rewrite else y


class DecoderLevel(nn.Module):
    """Skip, gated convolution, residual branch, transposed convolution, norm.

    Args:
        outermost: no activation follows.
        over_frequency: the kernel of the gated convolution spans neighbouring bins too.
    """

    def __init__(
        self,
        inner: int,
        outer: int,
        shape: LevelShape,
        context: int,
        outermost: bool,
        over_frequency: bool = True,
    ) -> None:
        super().__init__()
        self.shape = shape
        self.inner = inner
        self.outermost = outermost
        self.conv_tr = shape.conv_transposed(inner, outer)
        self.norm2 = shape.norm(outer)
        if shape.meets:
            return
        if shape.rewrite:
            self.rewrite = shape.gate(inner, context, over_frequency)
            self.norm1 = shape.norm(2 * inner)
        if shape.branch is not None:
            self.dconv = ResidualBranch(inner, shape.branch)

    def forward(self, x: Tensor, skip: Tensor | None, length: int) -> tuple[Tensor, Tensor]:
        """Decode; also return the input of the transposed convolution, from which the time branch continues.

        Args:
            length: number of steps of the encoder level's input, to which levels along time are cut.
        """
        z, y = self.spread(x, skip)
        padding = self.shape.padding
        if not self.shape.frequency:
            z = z[..., padding : padding + length]
        elif padding:
            z = z[..., padding:-padding, :]
        return (z if self.outermost else F.gelu(z)), y

    def spread(self, x: Tensor, skip: Tensor | None) -> tuple[Tensor, Tensor]:
        """Decode without the final cut and activation."""
        shape = self.shape
        if shape.frequency and x.dim() == 3:
            x = x.unflatten(1, (self.inner, -1))
        y = x
        if not shape.meets:
            y = x + skip if skip is not None else x
            if shape.rewrite:
                y = F.glu(self.norm1(self.rewrite(y)), dim=1)
            if shape.branch is not None:
                y = _along_time(self.dconv, y)
        return self.norm2(self.conv_tr(y)), y


class BandEncoder(nn.Module):
    """Copies of an encoder level, each for a band of frequencies; with equal weights they equal one level.

    Args:
        edges: upper edge of each band but the last, as a share of all bins.
    """

    def __init__(self, level: EncoderLevel, edges: tuple[float, ...]) -> None:
        super().__init__()
        self.edges = edges
        self.layers = nn.ModuleList(_fresh_copy(level) for _ in range(len(edges) + 1))
        for layer in self.layers:
            cast(nn.Conv2d, layer.conv).padding = (0, 0)

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        shape = cast(EncoderLevel, self.layers[0]).shape
        pad, kernel, stride = shape.padding, shape.kernel_size, shape.stride
        start = 0
        outputs: list[Tensor] = []
        for edge, layer in zip((*self.edges, 1.0), self.layers, strict=True):
            stop = bins = x.shape[2]
            if edge != 1:
                wanted = round(bins * edge) - start + (pad if start == 0 else 0)
                frames = round((wanted - kernel) / stride + 1)
                stop = start + (frames - 1) * stride + kernel - (pad if start == 0 else 0)
            band = x[:, :, start:stop]
            band = F.pad(band, (0, 0, pad if start == 0 else 0, pad if edge == 1 else 0))
            outputs.append(layer(band))
            start = stop - kernel + stride
        return torch.cat(outputs, dim=2)


class BandDecoder(nn.Module):
    """Copies of a decoder level, each for a band; overlapping outputs of neighbours are added."""

    def __init__(self, level: DecoderLevel, edges: tuple[float, ...]) -> None:
        super().__init__()
        self.edges = edges
        self.outermost = level.outermost
        self.layers = nn.ModuleList(_fresh_copy(level) for _ in range(len(edges) + 1))

    def forward(self, x: Tensor, skip: Tensor, length: int) -> tuple[Tensor, Tensor]:
        start = 0
        outputs: list[Tensor] = []
        for edge, part in zip((*self.edges, 1.0), self.layers, strict=True):
            layer = cast(DecoderLevel, part)
            stride = layer.shape.stride
            stop = x.shape[2] if edge == 1 else round(x.shape[2] * edge)
            out, _ = layer.spread(x[:, :, start:stop], skip[:, :, start:stop])
            if outputs:
                bias = cast(Tensor, cast(nn.ConvTranspose2d, layer.conv_tr).bias)
                shared = outputs[-1][:, :, -stride:] + out[:, :, :stride] - bias[:, None, None]
                outputs[-1] = torch.cat((outputs[-1][:, :, :-stride], shared), dim=2)
                out = out[:, :, stride:]
            if edge == 1:
                out = out[:, :, : -stride // 2]
            if start == 0:
                out = out[:, :, stride // 2 :]
            outputs.append(out)
            start = stop
        y = torch.cat(outputs, dim=2)
        return (y if self.outermost else F.gelu(y)), y


def _fresh_copy(level: nn.Module) -> nn.Module:
    """Return a copy with newly initialised weights."""
    made = copy.deepcopy(level)
    for part in made.modules():
        if hasattr(part, "reset_parameters"):
            part.reset_parameters()  # type: ignore[operator]
    return made


class FrequencyEmbedding(nn.Module):
    """A learned vector for each bin.

    Args:
        bins, channels: sizes.
        scale: factor of its learning rate.
        smooth: initialise neighbouring bins with similar vectors.
    """

    def __init__(self, bins: int, channels: int, scale: float, smooth: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(bins, channels)
        self.scale = scale
        with torch.no_grad():
            weight = self.embedding.weight
            if smooth:
                count = torch.arange(1, bins + 1, device=weight.device, dtype=weight.dtype)
                weight.copy_(weight.cumsum(0) / count.sqrt()[:, None])
            weight.div_(scale)

    def forward(self) -> Tensor:
        """(channels, bins)."""
        return self.embedding.weight.T * self.scale
