"""The gated residual stack of WaveNet and the network that upsamples features to the sample rate.

WaveNet uses them causally, Parallel WaveGAN causally or centred. Called as every streaming layer:
`y, state = layer(x, state)`; a layer that looks ahead takes whole segments only and its state is None.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiotool.models.base import State
from audiotool.models.layers.conv import StreamingConv1d

ACTIVATIONS: dict[str, type[nn.Module]] = {
    kind.__name__: kind
    for kind in (nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid)
}
"""Activations by torch's names, as in published configurations."""


def make_activation(name: str, values: Mapping[str, Any]) -> nn.Module:
    """Build an activation from torch's name for it and its arguments.

    Raises:
        ValueError: unknown name or argument.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"no activation is called {name!r}: {', '.join(ACTIVATIONS)}")
    try:
        return ACTIVATIONS[name](**values)
    except TypeError as error:
        raise ValueError(f"activation {name} is not made with {dict(values)}: {error}") from error


@dataclass(frozen=True)
class UpsampleShape:
    """Sizes of the network that upsamples features to the sample rate.

    Args:
        scales: upsampling factor of each layer.
        frequency_kernel: number of bands over which each layer smooths; odd.
        activation, activation_values: after each layer, as `make_activation` takes them; None for none.
    """

    scales: tuple[int, ...]
    frequency_kernel: int = 1
    activation: str | None = None
    activation_values: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.frequency_kernel % 2 == 0:
            raise ValueError(f"freq_axis_kernel_size {self.frequency_kernel} has no centre")
        if self.activation is not None:
            make_activation(self.activation, self.activation_values)


@dataclass(frozen=True)
class StackShape:
    """Sizes of a residual stack.

    Args:
        layers, stacks: dilation doubles from 1 within each of the `stacks`.
        gate_channels: channels of tanh and sigmoid together.
        aux_channels: channels of the condition; 0 for a stack without one.
    """

    layers: int
    stacks: int
    kernel_size: int
    residual_channels: int
    gate_channels: int
    skip_channels: int
    aux_channels: int
    dropout: float
    bias: bool
    causal: bool

    def __post_init__(self) -> None:
        if self.layers % self.stacks:
            raise ValueError(f"layers ({self.layers}) must be a multiple of stacks ({self.stacks})")
        if not self.causal and self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size {self.kernel_size} has no centre: only causal layers may be even")
        if self.gate_channels % 2:
            raise ValueError(f"gate_channels must be even, found {self.gate_channels}")

    @property
    def dilations(self) -> list[int]:
        return [2 ** (n % (self.layers // self.stacks)) for n in range(self.layers)]

    @property
    def receptive_field(self) -> int:
        """Return the number of input samples that one output sample depends on."""
        return (self.kernel_size - 1) * sum(self.dilations) + 1


class DilatedConv1d(StreamingConv1d):
    """Convolution with as many outputs as inputs: causal with a state, or centred on whole segments."""

    def __init__(
        self, inner: int, outer: int, kernel_size: int, dilation: int, bias: bool, causal: bool
    ) -> None:
        reach = (kernel_size - 1) * dilation
        super().__init__(
            inner,
            outer,
            kernel_size,
            dilation=dilation,
            bias=bias,
            left_padding=reach if causal else reach // 2,
        )
        self.causal = causal

    def forward(  # type: ignore[override]
        self, x: Tensor, state: Tensor | None = None, final: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        if self.causal:
            return super().forward(x, state)
        x = F.pad(x, (self.left_padding, self.left_padding))
        return self._conv_forward(x, self.weight, self.bias), None


class ResidualBlock(nn.Module):
    """Dilated convolution plus condition, gate, then 1x1 convolutions to the residual and to the skip."""

    def __init__(self, shape: StackShape, dilation: int) -> None:
        super().__init__()
        half = shape.gate_channels // 2
        self.dropout = nn.Dropout(shape.dropout)
        self.conv = DilatedConv1d(
            shape.residual_channels,
            shape.gate_channels,
            shape.kernel_size,
            dilation,
            shape.bias,
            shape.causal,
        )
        if shape.aux_channels:
            self.conv1x1_aux = nn.Conv1d(shape.aux_channels, shape.gate_channels, 1, bias=False)
        self.conv1x1_out = nn.Conv1d(half, shape.residual_channels, 1, bias=shape.bias)
        self.conv1x1_skip = nn.Conv1d(half, shape.skip_channels, 1, bias=shape.bias)

    def forward(
        self, x: Tensor, condition: Tensor | None, state: State = None
    ) -> tuple[Tensor, Tensor, State]:
        """(B, residual, T) and (B, aux, T) -> (B, residual, T), (B, skip, T), state."""
        hidden, state = self.conv(self.dropout(x), state)
        if condition is not None:
            hidden = hidden + self.conv1x1_aux(condition)
        content, gate = hidden.chunk(2, dim=1)
        gated = torch.tanh(content) * torch.sigmoid(gate)
        return (self.conv1x1_out(gated) + x) * math.sqrt(0.5), self.conv1x1_skip(gated), state


def run_stack(
    blocks: nn.ModuleList, x: Tensor, condition: Tensor, states: Sequence[State] | None = None
) -> tuple[Tensor, list[State]]:
    """Run `ResidualBlock`s one after another over (B, residual, T) and (B, aux, T).

    Returns:
        The sum of their skips over the square root of their number, (B, skip, T), and their states.
    """
    kept = []
    total = x.new_zeros(())
    for block, state in zip(blocks, states or [None] * len(blocks), strict=True):
        x, skip, state = block(x, condition, state)
        total = total + skip
        kept.append(state)
    return total * math.sqrt(1.0 / len(blocks)), kept


class StretchConv(nn.Conv2d):
    """Repeat every frame `scale` times, then smooth over 2 * scale + 1 steps.

    (B, 1, F, T) -> (B, 1, F, T * scale). State (causal): the last 2 * scale stretched steps.
    """

    def __init__(self, scale: int, frequency_kernel: int, causal: bool) -> None:
        super().__init__(
            1, 1, (frequency_kernel, 2 * scale + 1), padding=((frequency_kernel - 1) // 2, 0), bias=False
        )
        nn.init.constant_(self.weight, 1.0 / (frequency_kernel * (2 * scale + 1)))
        self.scale = scale
        self.causal = causal

    def forward(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:  # type: ignore[override]
        x = x.repeat_interleave(self.scale, dim=-1)
        if not self.causal:
            return self._conv_forward(F.pad(x, (self.scale, self.scale)), self.weight, None), None
        before = x.new_zeros(*x.shape[:-1], 2 * self.scale) if state is None else state
        x = torch.cat((before, x), dim=-1)
        return self._conv_forward(x, self.weight, None), x[..., -2 * self.scale :].clone()


class Upsample(nn.Module):
    """A chain of StretchConvs with the indices of the official list, where repeating frames is a layer."""

    def __init__(self, shape: UpsampleShape, causal: bool) -> None:
        super().__init__()
        self.up_layers = nn.ModuleList()
        for scale in shape.scales:
            self.up_layers.extend((nn.Identity(), StretchConv(scale, shape.frequency_kernel, causal)))
            if shape.activation is not None:
                self.up_layers.append(make_activation(shape.activation, shape.activation_values))

    def forward(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        """(B, F, frames) -> (B, F, frames * product of scales)."""
        states = list(state) if state is not None else [None] * len(self.up_layers)
        x = x[:, None]
        for n, layer in enumerate(self.up_layers):
            if isinstance(layer, StretchConv):
                x, states[n] = layer(x, states[n])
            else:
                x = layer(x)
        return x[:, 0], states


class ConvInUpsample(nn.Module):
    """A convolution over neighbouring frames, then `Upsample`; without padding.

    (B, F, context + frames) -> (B, F, frames * product of scales). Centred, the context is `context_window`
    frames on each side; causal, the same number before only.
    """

    def __init__(self, channels: int, context_window: int, shape: UpsampleShape, causal: bool) -> None:
        super().__init__()
        taps = context_window + 1 if causal else 2 * context_window + 1
        self.conv_in = nn.Conv1d(channels, channels, taps, bias=False)
        self.upsample = Upsample(shape, causal)

    def forward(self, features: Tensor, state: State = None) -> tuple[Tensor, State]:
        return self.upsample(self.conv_in(features), state)


def smoothing_context(scales: Sequence[int]) -> int:
    """Return the number of frames on either side that a frame depends on after centred StretchConvs.

    Each smooths over `scale` of its own output steps: one of its input steps.
    """
    reach, step = 0.0, 1.0
    for scale in scales:
        reach += step
        step /= scale
    return math.ceil(reach)
