"""WaveFlow: a flow that is autoregressive over a few rows and convolutional along them.

Ping, Peng, Zhao, Song: WaveFlow: A Compact Flow-based Model for Raw Audio, ICML 2020, arXiv:1912.01219. Names
and defaults are those of L0SG/WaveFlow (h16-r64).

Neighbouring samples are stacked into h rows (here 4), column by column:

    samples 0 1 2 3 4 5 6 7 8 ...        row 0   0 4 8        row i of the output is
                                         row 1   1 5 9          x_i * exp(log_s) + t,
                                         row 2   2 6            (log_s, t) = network(rows before i, mel)
                                         row 3   3 7          row 0 is copied; then the rows change places

Analysis computes all rows in parallel. Synthesis computes row after row. Each convolution stores the earlier
rows of its kernel in a queue, so that earlier rows are not computed again.

Every step along the rows adds to the receptive field: the exact context grows with rows * flows and is about
22 s on either side at the published size. Segments with this context stream exactly, at the cost of computing
it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiotool.configuration import Depth, Length, Real, Seed, Width
from audiotool.dsp.mel import mel_config
from audiotool.models.base import State
from audiotool.models.layers import noise
from audiotool.models.layers.weight_norm import normalise_weights
from audiotool.models.vocoder import Vocoder


@dataclass(frozen=True)
class WaveFlowConfig:
    """Hyper-parameters; the defaults are waveflow-h16-r64 (5,925,074 parameters).

    Args:
        mel: preset or definition of the features; its hop is the product of upsample_factors.
        rows: number of rows; divides the hop.
        channels: channels of the residual network.
        kernel_size: (rows, columns) of its convolutions; columns odd.
        row_dilations: of the layers' rows, repeated over the layers; columns are dilated by 2^layer.
        bipartize: the second half of the flows reverses each half of the rows instead of all of them.
        synthesis_order: order of the condition's rows in synthesis: "analysis", the order of analysis, which
            synthesis then inverts; or "published", that of the official programs, which begin with the
            original order. They differ only if all flows' permutations together move rows (6 flows with
            bipartize, odd numbers).
        temperature: standard deviation of the noise in synthesis.
        weight_norm: normalise weights, as in training; False for folded weights.
        seed: default seed of the noise in `process`.
    """

    mel: str | Mapping[str, Any] = "tacotron2"
    rows: Width = 16
    n_flows: Depth = 8
    n_layers: Depth = 8
    channels: Width = 64
    kernel_size: tuple[Length, Length] = (3, 3)
    row_dilations: tuple[Length, ...] = (1,)
    bipartize: bool = False
    synthesis_order: Literal["analysis", "published"] = "analysis"
    upsample_factors: tuple[Length, ...] = (16, 16)
    temperature: Real = 1.0
    weight_norm: bool = True
    seed: Seed = 0

    def __post_init__(self) -> None:
        hop = mel_config(self.mel).hop_length
        if math.prod(self.upsample_factors) != hop:
            raise ValueError(
                f"upsample_factors {self.upsample_factors} do not multiply to the mel's hop, {hop}"
            )
        if any(factor % 2 for factor in self.upsample_factors):
            raise ValueError(f"upsample_factors {self.upsample_factors} must be even")
        if hop % self.rows or self.rows < 2 or (self.bipartize and self.rows % 2):
            raise ValueError(f"rows ({self.rows}) must divide the mel's hop {hop}, and be even to bipartize")
        if self.kernel_size[1] % 2 == 0 or not self.row_dilations:
            raise ValueError(
                "kernel_size must be odd along columns, and row_dilations must name one at least"
            )


class RowConv2d(nn.Conv2d):
    """Convolution, causal over rows and centred over columns: (B, C, rows, W) -> (B, out, rows, W).

    State: (B, C, (kernel - 1) * dilation, W) the earlier rows, zeros at the beginning.
    """

    def __init__(
        self, inner: int, outer: int, kernel_size: tuple[int, int], dilation: tuple[int, int]
    ) -> None:
        super().__init__(
            inner, outer, kernel_size, dilation=dilation, padding=(0, (kernel_size[1] - 1) // 2 * dilation[1])
        )
        self.history = (kernel_size[0] - 1) * dilation[0]

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        if state is None:
            state = x.new_zeros(*x.shape[:2], self.history, x.shape[3])
        x = torch.cat((state, x), dim=2)
        return self._conv_forward(x, self.weight, self.bias), x[:, :, x.shape[2] - self.history :]


class ResidualBlock2d(nn.Module):
    """Gated convolution with condition; a 1x1 convolution gives the residual and the skip.

    (B, C, rows, W) and (B, bands, rows, W) -> the next block's input and the skip, (B, C, rows, W).
    """

    def __init__(
        self, channels: int, bands: int, kernel_size: tuple[int, int], dilation: tuple[int, int]
    ) -> None:
        super().__init__()
        self.filter_gate_conv = RowConv2d(channels, 2 * channels, kernel_size, dilation)
        self.filter_gate_conv_c = nn.Conv2d(bands, 2 * channels, 1)
        self.res_skip_conv = nn.Conv2d(channels, 2 * channels, 1)

    def forward(self, x: Tensor, condition: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        hidden, state = self.filter_gate_conv(x, state)
        content, gate = (hidden + self.filter_gate_conv_c(condition)).chunk(2, dim=1)
        residual, skip = self.res_skip_conv(torch.tanh(content) * torch.sigmoid(gate)).chunk(2, dim=1)
        return x + residual, skip, state


class RowFlow(nn.Module):
    """One flow, which transforms each row by scale and shift from the rows before it."""

    def __init__(self, config: WaveFlowConfig, bands: int) -> None:
        super().__init__()
        c = config
        self.front_conv = nn.Conv2d(1, c.channels, 1)
        self.res_blocks = nn.ModuleList(
            ResidualBlock2d(
                c.channels, bands, c.kernel_size, (c.row_dilations[i % len(c.row_dilations)], 2**i)
            )
            for i in range(c.n_layers)
        )
        self.proj_log_s_t = nn.Conv2d(c.channels, 2, 1)
        nn.init.zeros_(self.proj_log_s_t.weight)
        nn.init.zeros_(self.proj_log_s_t.bias)  # type: ignore[arg-type]

    def network(self, x: Tensor, condition: Tensor, state: State = None) -> tuple[Tensor, Tensor, State]:
        """Return log_s and t of the rows after rows (B, 1, R, W), given their condition (B, M, R, W)."""
        states = [None] * len(self.res_blocks) if state is None else list(state)
        x = self.front_conv(x)
        total: Tensor | None = None
        for n, block in enumerate(self.res_blocks):
            x, skip, states[n] = block(x, condition, states[n])
            total = skip if total is None else total + skip
        log_scale, shift = self.proj_log_s_t(total).chunk(2, dim=1)
        return log_scale, shift, states

    def forward(self, x: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Transform rows (B, 1, h, W); return them and log_s (B, 1, h - 1, W)."""
        log_scale, shift, _ = self.network(x[:, :, :-1], condition[:, :, 1:])
        return torch.cat((x[:, :, :1], x[:, :, 1:] * log_scale.exp() + shift), dim=2), log_scale

    def inverse(self, z: Tensor, condition: Tensor) -> Tensor:
        """Undo `forward` row by row."""
        rows = [z[:, :, :1]]
        state: State = None
        for n in range(1, z.shape[2]):
            log_scale, shift, state = self.network(rows[-1], condition[:, :, n : n + 1], state)
            rows.append((z[:, :, n : n + 1] - shift) * torch.exp(-log_scale))
        return torch.cat(rows, dim=2)


class WaveFlow(Vocoder):
    """Mel (B, n_mels, frames) to waveform (B, 1, frames * hop)."""

    name = "waveflow"
    config_class = WaveFlowConfig
    small: ClassVar[dict[str, Any]] = {"n_flows": 2, "n_layers": 2, "channels": 8}
    reference = "Ping et al., WaveFlow: A Compact Flow-based Model for Raw Audio, ICML 2020, arXiv:1912.01219"
    uses_position = True
    autoregressive = True

    def __init__(self, config: WaveFlowConfig) -> None:
        super().__init__(config)
        c = config
        self.upsample_conv = nn.ModuleList(
            nn.ConvTranspose2d(1, 1, (3, 2 * factor), stride=(1, factor), padding=(1, factor // 2))
            for factor in c.upsample_factors
        )
        self.flows = nn.ModuleList(RowFlow(c, self.mel.n_mels) for _ in range(c.n_flows))
        # Each row depends on `reach` columns of the row before it, so that the reach adds up over rows.
        reach = (c.kernel_size[1] - 1) // 2 * (2**c.n_layers - 1)
        columns = reach * (c.rows - 1) * c.n_flows
        # Every upsampling layer reaches less than one of its input steps.
        frames = -(-columns * c.rows // self.upsampling) + 2
        self.context = (frames, frames)
        self.latency = frames * self.upsampling
        if c.weight_norm:
            normalise_weights(self.upsample_conv)
            for flow in self.row_flows:
                normalise_weights(nn.ModuleList([flow.front_conv, flow.res_blocks]))

    @property
    def row_flows(self) -> list[RowFlow]:
        """Return the flows in the order of analysis."""
        return cast("list[RowFlow]", list(self.flows))

    def upsample(self, features: Tensor) -> Tensor:
        """Upsample a mel (B, M, frames) to (B, M, frames * hop)."""
        x = features[:, None]
        for layer in self.upsample_conv:
            x = F.leaky_relu(layer(x), 0.4)
        return x[:, 0]

    def _order(self, flow: int) -> list[int]:
        """Return the permutation of the rows after `flow`, which is its own inverse."""
        rows = list(range(self.config.rows))
        half = len(rows) // 2
        if self.config.bipartize and flow >= self.config.n_flows // 2:
            return rows[:half][::-1] + rows[half:][::-1]
        return rows[::-1]

    def forward(self, waveform: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Transform a waveform to noise, as the official network.

        Args:
            waveform: (B, T), T a multiple of the rows and covered by the frames.
            features: (B, n_mels, frames).
        Returns:
            noise (B, 1, rows, T / rows), and the log-determinant, summed over all elements.
        """
        condition = self.stack(self.upsample(features)[..., : waveform.shape[-1]])
        x = self.stack(waveform[:, None])
        log_determinant = x.new_zeros(())
        for k, flow in enumerate(self.flows):
            x, log_scale = flow(x, condition)
            log_determinant = log_determinant + log_scale.sum()
            x, condition = x[:, :, self._order(k)], condition[:, :, self._order(k)]
        return x, log_determinant

    def stack(self, x: Tensor) -> Tensor:
        """Stack samples into rows: (B, C, T) -> (B, C, rows, T / rows)."""
        return x.unflatten(-1, (-1, self.config.rows)).transpose(2, 3)

    def inverse(self, z: Tensor, condition: Tensor) -> Tensor:
        """Transform noise to a waveform.

        Args:
            z: (B, 1, rows, W), temperature included.
            condition: (B, n_mels, rows * W), the upsampled mel.
        Returns:
            (B, rows * W).
        """
        x, condition = z, self.stack(condition)
        # Row permutations commute and are their own inverses, so each also undoes its own flow's.
        if self.config.synthesis_order == "analysis":
            condition = condition[:, :, self._order_after_all()]
        for k in reversed(range(self.config.n_flows)):
            x, condition = x[:, :, self._order(k)], condition[:, :, self._order(k)]
            x = self.row_flows[k].inverse(x, condition)
        return x[:, 0].transpose(1, 2).flatten(1)

    def _order_after_all(self) -> list[int]:
        """Return the permutation of the condition's rows after the last flow of analysis."""
        rows = list(range(self.config.rows))
        for k in range(self.config.n_flows):
            rows = [rows[n] for n in self._order(k)]
        return rows

    def process(self, x: Tensor, seed: int | None = None, position: int = 0, **conditions: Any) -> Tensor:
        """Vocode a mel (B, n_mels, frames).

        The official programs drop the last 768 or 272 samples, where the upsampling has fewer frames. Here
        no samples are dropped.

        Args:
            seed: seed of the noise; None takes the configuration's.
            position: frame of the stream that x begins with.
        Raises:
            InputError: x has another number of bands.
        """
        self.check_features(x)
        if x.shape[-1] == 0:
            return x.new_zeros(x.shape[0], 1, 0)
        hop, seed = self.upsampling, self.config.seed if seed is None else seed
        z = noise.normal(seed, 1, position * hop, x.shape[-1] * hop, x.device) * self.config.temperature
        z = self.stack(z.to(x.dtype)).expand(x.shape[0], -1, -1, -1)
        return self.inverse(z, self.upsample(x))[:, None]

    def training_outputs(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return noise "z" of the target (B, 1, rows, T / rows) and the summed "log_determinant"."""
        z, log_determinant = self(batch["target"][:, 0], batch["input"])
        return {"z": z, "log_determinant": log_determinant}
