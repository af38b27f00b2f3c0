"""Conv-TasNet, causal: separate speakers with masks on a learned filterbank.

Luo and Mesgarani: Conv-TasNet: Surpassing Ideal Time-Frequency Magnitude Masking for Speech Separation,
TASLP 2019, arXiv:1809.07454. The causal variant: convolutions look back only and normalisation is cumulative
(cLN), so the latency is one filter, 15 samples as published. The encoder ends with a ReLU, the paper's
optional nonlinearity; the system of its abstract has a linear encoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from audiotool.configuration import Depth, Length, Rate, Stems, Width
from audiotool.dsp.level import Level
from audiotool.models.base import Model, State
from audiotool.models.layers.conv import StreamingConv1d, StreamingConvTranspose1d, pointwise
from audiotool.models.layers.norm import CumulativeLayerNorm
from audiotool.value_types import Range


@dataclass(frozen=True)
class ConvTasNetConfig:
    """Hyper-parameters; the defaults are the paper's best (Table II, causal row, 5.1 million parameters).

    Args:
        sample_rate: Hz.
        stems: names of the outputs.
        filters: N, filters of the encoder and decoder.
        filter_length: L, samples; they step by half of it.
        bottleneck_channels: B, between blocks.
        hidden_channels: H, inside a block.
        skip_channels: Sc, on the skip paths.
        kernel_size: P, of the depthwise convolutions.
        blocks: X, blocks a stack; dilations 1, 2, 4 … 2^(X-1).
        stacks: R.
        mask: "sigmoid" or "relu".
    """

    sample_rate: Rate = 8000
    stems: Stems = ("speaker1", "speaker2")
    filters: Width = 512
    filter_length: Annotated[int, Range(ge=2, le=16_384)] = 16
    bottleneck_channels: Width = 128
    hidden_channels: Width = 512
    skip_channels: Width = 128
    kernel_size: Length = 3
    blocks: Depth = 8
    stacks: Depth = 3
    mask: Literal["sigmoid", "relu"] = "sigmoid"


class SeparatorBlock(nn.Module):
    """Widen, dilated depthwise convolution, then a residual and a skip output (B, C, T)."""

    def __init__(self, config: ConvTasNetConfig, dilation: int) -> None:
        super().__init__()
        c = config
        self.widen = nn.Conv1d(c.bottleneck_channels, c.hidden_channels, 1)
        self.widen_act = nn.PReLU()
        self.widen_norm = CumulativeLayerNorm(c.hidden_channels)
        self.depthwise = StreamingConv1d(
            c.hidden_channels,
            c.hidden_channels,
            c.kernel_size,
            dilation=dilation,
            groups=c.hidden_channels,
            left_padding=(c.kernel_size - 1) * dilation,
        )
        self.depthwise_act = nn.PReLU()
        self.depthwise_norm = CumulativeLayerNorm(c.hidden_channels)
        self.residual = nn.Conv1d(c.hidden_channels, c.bottleneck_channels, 1)
        self.skip = nn.Conv1d(c.hidden_channels, c.skip_channels, 1)

    def forward(self, x: Tensor, state: State = None) -> tuple[Tensor, Tensor, State]:
        """Return the next block's input, the skip output and the state of both norms and the convolution."""
        first, conv, second = state or (None, None, None)
        h, first = self.widen_norm(self.widen_act(pointwise(self.widen, x)), first)
        h, conv = self.depthwise(h, conv)
        h, second = self.depthwise_norm(self.depthwise_act(h), second)
        return x + pointwise(self.residual, h), pointwise(self.skip, h), (first, conv, second)


class ConvTasNet(Model):
    """Mixture (B, 1, T) to stems (B, S, T)."""

    name = "conv-tasnet"
    gives = ("stems", "speech")
    config_class = ConvTasNetConfig
    small: ClassVar[dict[str, Any]] = {
        "filters": 32,
        "bottleneck_channels": 16,
        "hidden_channels": 24,
        "skip_channels": 16,
        "blocks": 3,
        "stacks": 1,
    }
    reference = "Luo and Mesgarani, Conv-TasNet, TASLP 2019, arXiv:1809.07454"
    state_meanings: ClassVar[dict[str, str]] = {
        "encoder": "samples that the next filter begins with",
        "norm": "normalisation: sum, sum of squares, frames so far",
        "blocks": "a block's two normalisations (0, 2), as above, and the frames its convolution needs (1)",
        "decoder": "sums that the next frame still adds to",
    }

    def __init__(self, config: ConvTasNetConfig) -> None:
        super().__init__(config)
        c = config
        self.sample_rate = c.sample_rate
        self.hop_length = c.filter_length // 2
        self.latency = c.filter_length - 1
        self.stems = c.stems
        overlap = c.filter_length - self.hop_length
        self.encoder = StreamingConv1d(
            1, c.filters, c.filter_length, self.hop_length, bias=False, left_padding=overlap
        )
        self.norm = CumulativeLayerNorm(c.filters)
        self.bottleneck = nn.Conv1d(c.filters, c.bottleneck_channels, 1)
        self.blocks = nn.ModuleList(SeparatorBlock(c, 2**x) for _ in range(c.stacks) for x in range(c.blocks))
        self.mask_act = nn.PReLU()
        self.mask = nn.Conv1d(c.skip_channels, len(c.stems) * c.filters, 1)
        self.decoder = StreamingConvTranspose1d(c.filters, 1, c.filter_length, self.hop_length, bias=False)

    def forward(self, mixture: Tensor) -> Tensor:
        """Separate whole mixtures (B, T) or (B, 1, T) -> (B, S, T)."""
        return self.process(mixture[:, None] if mixture.dim() == 2 else mixture)

    def start(self, level: Level[Tensor] | None = None, **conditions: Any) -> State:
        blocks = [None] * len(self.blocks)
        return {"encoder": None, "norm": None, "blocks": blocks, "decoder": None, "skipped": 0}

    def step(self, x: Tensor, state: State = None, final: bool = False) -> tuple[Tensor, State]:
        state = dict(self.start() if state is None else state)
        length, hop = self.config.filter_length, self.hop_length
        if final:
            # Frames that begin before the end are completed with zeros.
            carried = length - hop if state["encoder"] is None else state["encoder"].shape[-1]
            remaining = carried + x.shape[-1]
            frames = -(-remaining // hop)
            x = F.pad(x, (0, (frames - 1) * hop + length - remaining))
        encoded, state["encoder"] = self.encoder(x, state["encoder"])
        encoded = encoded.relu()
        masked = (self._masks(encoded, state) * encoded[:, None]).flatten(0, 1)
        held, stems = state["decoder"], (-1, len(self.stems))
        y, held = self.decoder(masked, None if held is None else held.flatten(0, 1)[:, None], final)
        state["decoder"] = None if held is None else held[:, 0].unflatten(0, stems)
        y = y[:, 0].unflatten(0, stems)
        dropped = min(length - hop - state["skipped"], y.shape[-1])
        state["skipped"] += dropped
        return y[..., dropped:], state

    def _masks(self, encoded: Tensor, state: dict[str, Any]) -> Tensor:
        """(B, N, T) -> (B, S, N, T)."""
        h, state["norm"] = self.norm(encoded, state["norm"])
        h = pointwise(self.bottleneck, h)
        states = []
        total: Tensor | float = 0.0
        for block, block_state in zip(self.blocks, state["blocks"], strict=True):
            h, skip, block_state = block(h, block_state)
            total = total + skip
            states.append(block_state)
        state["blocks"] = states
        masks = pointwise(self.mask, self.mask_act(total)).unflatten(1, (len(self.stems), -1))
        return masks.sigmoid() if self.config.mask == "sigmoid" else masks.relu()
