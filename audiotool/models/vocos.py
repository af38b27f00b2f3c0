"""Vocos: a backbone at frame rate, and an inverse Fourier (or cosine) transform as the only upsampling.

Siuzdak: Vocos: Closing the gap between time-domain and Fourier-based neural vocoders for high-quality audio
synthesis, ICLR 2024, arXiv:2306.00814.

The causal variant is ours: its convolutions look back only, and all other layers compute each frame
independently. The latency comes from the overlap of frames in the head.

    head alignment      sample t is complete with the frame of      latency, n_fft 1024 and hop 256
    padding="same"      t + (n_fft - hop) / 2                       384
    padding="center"    t + n_fft / 2                               512
    padding="causal"    t + n_fft - hop                             768

The alignment should be the mel's: an alignment with less latency here looks further ahead in the mel's
analysis.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiotool.configuration import Depth, Length, Rate, Whole, Width
from audiotool.dsp.framing import check_frames, leading_samples
from audiotool.dsp.mdct import StreamingIMDCT
from audiotool.dsp.stft import StreamingISTFT
from audiotool.models.base import BEYOND, Model, State, without_end
from audiotool.models.layers.conv import StreamingConv1d
from audiotool.models.layers.receptive_field import Span, conv_transpose_span, input_span, residual_span
from audiotool.models.layers.weight_norm import normalise_weights
from audiotool.models.vocoder import Vocoder

SLOPE = 0.1
LARGEST = 100.0
"""Upper limit of magnitudes and coefficients, as published."""


@dataclass(frozen=True)
class VocosConfig:
    """Hyper-parameters; the defaults are the published mel model (13,531,650 parameters).

    Args:
        mel: definition of the input; None for the features of a codec, which need the next three.
        input_channels, sample_rate, hop_length: sizes of a codec's features (EnCodec: 128, 24000, 320).
        backbone: "convnext" or "resnet".
        dim: width of the backbone.
        intermediate_dim: width inside a ConvNeXt block.
        num_layers: number of blocks.
        conditions: number of a codec's bandwidths to which the norms adapt; 0 for plain norms.
        bandwidth_id: index of the features' bandwidth among them, where `start` and `forward` get none.
        head: "istft", "imdct-cos" or "imdct-symexp".
        n_fft: frame of the "istft" head; the other two use twice the hop.
        padding: alignment of the head.
        causal: convolutions look back only; for ConvNeXt.
        weight_norm: normalise the ResNet's weights, as in training; False for folded weights.
    """

    mel: str | Mapping[str, Any] | None = "vocos-24k"
    input_channels: Width | None = None
    sample_rate: Rate | None = None
    hop_length: Length | None = None
    backbone: Literal["convnext", "resnet"] = "convnext"
    dim: Width = 512
    intermediate_dim: Width = 1536
    num_layers: Depth = 8
    conditions: Whole = 0
    bandwidth_id: Whole = 0
    head: Literal["istft", "imdct-cos", "imdct-symexp"] = "istft"
    n_fft: Length = 1024
    padding: Literal["center", "same", "causal"] = "center"
    causal: bool = False
    weight_norm: bool = True

    def __post_init__(self) -> None:
        codec = (self.input_channels, self.sample_rate, self.hop_length)
        if (self.mel is None) != all(codec) or (self.mel is not None and any(codec)):
            raise ValueError("give either mel, or input_channels, sample_rate and hop_length of a codec")
        if self.backbone == "resnet" and (self.causal or self.conditions):
            raise ValueError("the resnet backbone is neither causal nor conditioned")
        if self.bandwidth_id and self.bandwidth_id >= self.conditions:
            raise ValueError(f"bandwidth_id {self.bandwidth_id} is not below conditions, {self.conditions}")


def frame_conv(inputs: int, outputs: int, kernel_size: int, causal: bool, groups: int = 1) -> nn.Conv1d:
    """Make a convolution that keeps the number of frames; a causal one takes and returns a state."""
    if causal:
        return StreamingConv1d(inputs, outputs, kernel_size, groups=groups, left_padding=kernel_size - 1)
    return nn.Conv1d(inputs, outputs, kernel_size, padding=kernel_size // 2, groups=groups)


def convolve(conv: nn.Conv1d, x: Tensor, state: State) -> tuple[Tensor, State]:
    """Call a `frame_conv`."""
    return conv(x, state) if isinstance(conv, StreamingConv1d) else (conv(x), None)


class AdaptiveLayerNorm(nn.Module):
    """LayerNorm over the last axis whose scale and shift are looked up by a condition's number."""

    def __init__(self, conditions: int, dim: int) -> None:
        super().__init__()
        self.scale = nn.Embedding(conditions, dim)
        self.shift = nn.Embedding(conditions, dim)
        nn.init.ones_(self.scale.weight)
        nn.init.zeros_(self.shift.weight)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(B, T, D) and numbers (B,) or (1,) -> (B, T, D)."""
        x = F.layer_norm(x, (x.shape[-1],), eps=1e-6)
        return x * self.scale(condition)[:, None] + self.shift(condition)[:, None]


def norm_layer(config: VocosConfig) -> nn.Module:
    """Make a norm of the backbone's width."""
    if config.conditions:
        return AdaptiveLayerNorm(config.conditions, config.dim)
    return nn.LayerNorm(config.dim, eps=1e-6)


def normalise(norm: nn.Module, x: Tensor, condition: Tensor | None) -> Tensor:
    """Apply a `norm_layer` to (B, T, D)."""
    return norm(x, condition) if isinstance(norm, AdaptiveLayerNorm) else norm(x)


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution over time, then two linear layers a frame; scaled and added; (B, dim, T)."""

    def __init__(self, config: VocosConfig) -> None:
        super().__init__()
        dim = config.dim
        self.dwconv = frame_conv(dim, dim, 7, config.causal, groups=dim)
        self.norm = norm_layer(config)
        self.pwconv1 = nn.Linear(dim, config.intermediate_dim)
        self.pwconv2 = nn.Linear(config.intermediate_dim, dim)
        self.gamma = nn.Parameter(torch.full((dim,), 1 / config.num_layers))

    def forward(self, x: Tensor, condition: Tensor | None, state: State) -> tuple[Tensor, State]:
        y, state = convolve(self.dwconv, x, state)
        y = normalise(self.norm, y.transpose(1, 2), condition)
        y = self.gamma * self.pwconv2(F.gelu(self.pwconv1(y)))
        return x + y.transpose(1, 2), state

    def input_span(self, span: Span) -> Span:
        return residual_span(self.dwconv, span)


class VocosBackbone(nn.Module):
    """Features (B, C, T) -> (B, T, dim) through ConvNeXt blocks."""

    def __init__(self, inputs: int, config: VocosConfig) -> None:
        super().__init__()
        self.embed = frame_conv(inputs, config.dim, 7, config.causal)
        self.norm = norm_layer(config)
        self.convnext = nn.ModuleList(ConvNeXtBlock(config) for _ in range(config.num_layers))
        self.final_layer_norm = nn.LayerNorm(config.dim, eps=1e-6)
        self.apply(_initialise)

    def forward(self, x: Tensor, condition: Tensor | None, state: State) -> tuple[Tensor, State]:
        states = [None] * (1 + len(self.convnext)) if state is None else list(state)
        x, states[0] = convolve(self.embed, x, states[0])
        x = normalise(self.norm, x.transpose(1, 2), condition).transpose(1, 2)
        for n, block in enumerate(self.convnext, start=1):
            x, states[n] = block(x, condition, states[n])
        return self.final_layer_norm(x.transpose(1, 2)), states

    def input_span(self, span: Span) -> Span:
        return input_span((self.embed, *self.convnext), span)


class ScaledResBlock(nn.Module):
    """Three pairs of convolutions (the first dilated), each pair scaled a channel and added; (B, dim, T)."""

    def __init__(self, dim: int, scale: float) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(nn.Conv1d(dim, dim, 3, dilation=d, padding=d) for d in (1, 3, 5))
        self.convs2 = nn.ModuleList(nn.Conv1d(dim, dim, 3, padding=1) for _ in range(3))
        self.gamma = nn.ParameterList(nn.Parameter(torch.full((dim, 1), scale)) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        for dilated, plain, gamma in zip(self.convs1, self.convs2, self.gamma, strict=True):
            x = x + gamma * plain(F.leaky_relu(dilated(F.leaky_relu(x, SLOPE)), SLOPE))
        return x

    def input_span(self, span: Span) -> Span:
        for pair in zip(reversed(self.convs1), reversed(self.convs2), strict=True):
            span = residual_span(pair, span)
        return span


class VocosResNetBackbone(nn.Module):
    """Features (B, C, T) -> (B, T, dim) through residual blocks."""

    def __init__(self, inputs: int, config: VocosConfig) -> None:
        super().__init__()
        self.embed = nn.Conv1d(inputs, config.dim, 3, padding=1)
        scale = 1 / (3 * config.num_layers)
        self.resnet = nn.Sequential(*(ScaledResBlock(config.dim, scale) for _ in range(config.num_layers)))
        if config.weight_norm:
            normalise_weights(self)

    def forward(self, x: Tensor, condition: Tensor | None, state: State) -> tuple[Tensor, State]:
        return self.resnet(self.embed(x)).transpose(1, 2), None

    def input_span(self, span: Span) -> Span:
        return input_span((self.embed, self.resnet), span)


class FourierHead(nn.Module):
    """(B, T, dim) -> waveform: one linear layer and an inverse transform. State: the transform's."""

    def __init__(self, config: VocosConfig, hop_length: int) -> None:
        super().__init__()
        self.kind, self.hop_length = config.head, hop_length
        self.inverse: StreamingISTFT | StreamingIMDCT
        if config.head == "istft":
            check_frames(config.n_fft, hop_length, whole_hops=False)
            self.frame_length, outputs = config.n_fft, config.n_fft + 2
            self.inverse = StreamingISTFT(config.n_fft, hop_length, padding=config.padding)
        else:
            self.frame_length = 2 * hop_length
            outputs = hop_length if config.head == "imdct-symexp" else self.frame_length
            self.inverse = StreamingIMDCT(self.frame_length, config.padding)
        self.out = nn.Linear(config.dim, outputs)
        self.offset = leading_samples(config.padding, self.frame_length, hop_length)

    def forward(
        self, x: Tensor, state: State, final: bool, inside: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Synthesise what is complete; inside (B, 1, T) is 0 for frames that say nothing of any sample."""
        x = self.out(x).transpose(1, 2)
        if self.kind == "imdct-symexp":
            # sign(x) (exp |x| - 1), limited before the exponential so that its gradient stays finite.
            spectrum = x.sign() * x.abs().clamp(max=math.log(LARGEST + 1)).expm1()
            return self.inverse(spectrum if inside is None else spectrum * inside, state, final)
        log_magnitude, phase = x.chunk(2, dim=1)
        magnitude = log_magnitude.clamp(max=math.log(LARGEST)).exp()
        magnitude = magnitude if inside is None else magnitude * inside
        if isinstance(self.inverse, StreamingIMDCT):
            return self.inverse(magnitude * torch.cos(phase), state, final)
        present = None if inside is None else inside[:, 0]
        return self.inverse(torch.polar(magnitude, phase), state, final, present)

    def input_span(self, span: Span) -> Span:
        return conv_transpose_span(span, self.frame_length, self.hop_length, self.offset)


class Vocos(Vocoder):
    """Mel, or a codec's features (B, C, frames) -> waveform (B, 1, samples).

    The output has frames * hop samples, and one hop less if the head is centred.

    Attributes:
        mel: None where the input is a codec's.
    """

    name = "vocos"
    config_class = VocosConfig
    small: ClassVar[dict[str, Any]] = {"dim": 16, "intermediate_dim": 24, "num_layers": 1}
    reference = "Siuzdak, Vocos, ICLR 2024, arXiv:2306.00814"
    drain_value = BEYOND
    state_meanings: ClassVar[dict[str, str]] = {
        "condition": "number of the codec's bandwidth",
        "backbone": "features that a layer's next convolution needs",
        "head.0": "sums that the next frame still adds to",
        "head.1": "the squared windows in these sums",
        "head": "sums that the next frame still adds to",
    }

    def __init__(self, config: VocosConfig) -> None:
        c = config
        if c.mel is not None:
            super().__init__(config)
        else:
            Model.__init__(self, config)
            self.mel = None  # type: ignore[assignment]
            self.sample_rate, self.upsampling = c.sample_rate or 0, c.hop_length or 0
        self.causal = c.causal
        backbone = VocosBackbone if c.backbone == "convnext" else VocosResNetBackbone
        self.backbone = backbone(self.input_channels, c)
        self.head = FourierHead(c, self.upsampling)
        self.declare_context()

    @property
    def input_channels(self) -> int:
        return self.config.input_channels or self.mel.n_mels

    def forward(self, features: Tensor, bandwidth_id: Tensor | int | None = None) -> Tensor:
        """Vocode features (B, C, frames) to (B, 1, output_length(frames)), as the official decoder.

        Args:
            bandwidth_id: index of the codec's bandwidth, for models that were trained with several; None is
                the configuration's.
        """
        y, _ = self._run(features, self.start(bandwidth_id=bandwidth_id), final=True)
        return y[..., : self.output_length(features.shape[-1])]

    def output_length(self, length: int) -> int:
        frames = max(0, length - 1) if self.config.padding == "center" else length
        return frames * self.upsampling

    def start(self, level: Any = None, bandwidth_id: Tensor | int | None = None, **conditions: Any) -> State:
        if not self.config.conditions:
            return {"condition": None, "backbone": None, "head": None}
        device = next(self.parameters()).device
        number = self.config.bandwidth_id if bandwidth_id is None else bandwidth_id
        condition = torch.as_tensor(number, device=device).reshape(-1)
        return {"condition": condition, "backbone": None, "head": None}

    def step(self, x: Tensor, state: State = None, final: bool = False) -> tuple[Tensor, State]:
        if not self.causal:
            return super().step(x, state, final)
        self.check_features(x)
        return self._run(x, self.start() if state is None else state, final)

    def _run(self, x: Tensor, state: State, final: bool) -> tuple[Tensor, State]:
        inside = None
        if self.causal:
            # Frames of `BEYOND` follow the end of a graph's stream.
            x, present = without_end(x)
            inside = present.to(x.dtype)
        hidden, backbone = self.backbone(x, state["condition"], state["backbone"])
        y, head = self.head(hidden, state["head"], final, inside)
        return y[:, None], {"condition": state["condition"], "backbone": backbone, "head": head}

    def training_outputs(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Generate as many samples as "target" has.

        A training example has no frame beyond its waveform; where the head is centred, its last hop is what
        the frames before say of it.
        """
        y, _ = self._run(batch["input"], self.start(bandwidth_id=batch.get("bandwidth_id")), final=True)
        return {"estimate": y[..., : batch["target"].shape[-1]]}

    def input_span(self, span: Span) -> Span:
        return input_span((self.backbone, self.head), span)


def _initialise(layer: nn.Module) -> None:
    """Initialise the ConvNeXt backbone as published."""
    if isinstance(layer, (nn.Conv1d, nn.Linear)):
        nn.init.trunc_normal_(layer.weight, std=0.02)
        assert layer.bias is not None
        nn.init.zeros_(layer.bias)
