"""PeriodWave: flow matching from noise to waveform, one estimator for several periods; and its Turbo form.

Lee, Choi, Lee: PeriodWave: Multi-Period Flow Matching for High-Fidelity Waveform Generation, ICLR 2025,
arXiv:2408.07547. Lee, Choi, Lee: Accelerating High-Fidelity Waveform Generation via Adversarial Flow Matching
Optimization (PeriodWave-Turbo), 2024, arXiv:2408.08019.

A waveform x1 and noise x0 are joined by x_t = (1 - (1 - s) t) x0 + t x1, s = 1e-4. The network estimates the
field u = x1 - (1 - s) x0 at (x_t, t); sampling integrates it from t = 0 to 1. The noise has the energy of the
mel: its standard deviation follows each frame's energy (the prior of PriorGrad, arXiv:2106.06406).

    x_t, T samples ── for each period p: columns of every p-th sample ── one shared U-Net ──┐
    mel ── ConvNeXt blocks ── x 4 ── for each period: frames of its middle level ───────────┤
    t, p ── embedding ──────────────────────────────────────────────────────────────────────┘
                                                       sum over periods ── final block ── field

Its normalisation (GRN) takes statistics over the whole input, so the context is unbounded, and long files are
vocoded in cross-faded segments. Segments begin where every period's frames do, and the noise depends on the
position.

The published programs scale outputs with a higher peak to 0.95; here the level is unchanged.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiotool.configuration import Depth, Fraction, Length, Real, Seed, Width
from audiotool.models.layers import noise
from audiotool.models.layers.weight_norm import normalise_weights, weight_norm
from audiotool.models.vocoder import Vocoder

SIGMA_MIN = 1e-4
"""Standard deviation of the path's end around the waveform, relative to the noise at its beginning."""

DEPTH = 64
"""Number of samples of a period in a frame of the U-Net's middle level: three levels of stride 4."""

ENCODEC_FEATURES = 128

Solver = Literal["euler", "midpoint"]


@dataclass(frozen=True)
class PeriodWaveConfig:
    """Hyper-parameters; the defaults are the published 24 kHz network (29,805,025 parameters).

    Args:
        mel: preset or definition of the features; decides rates also where the features are EnCodec's.
        features: "mel", or "encodec": 128 values a frame of EnCodec's quantised embedding, without prior.
        hidden_dim: channels in the middle of the U-Net; the outermost level has a sixteenth.
        embedding_dim: size of the embeddings of time and period; published: hidden_dim / 2, and hidden_dim
            for EnCodec.
        dilations: dilations of the residual blocks in the middle of the U-Net and at the end; (1, 2, 1, 4) in
            the large network.
        drop_path: probability of skipping a ConvNeXt block in training.
        noise_scale: factor of the prior's standard deviation.
        energy_min, energy_max: range of the frames' energy in the training set, which becomes 0 to 1.
        steps, solver, temperature: defaults of the sampling in `process`.
        sway: warps the time grid: t + sway (cos(pi t / 2) - 1 + t); 0 keeps it even.
        freeu_backbone, freeu_skip: weights of the U-Net's two branches where they meet (FreeU): 1.1 and 0.9
            in the published example, 1 in training.
        weight_norm: normalise weights, as in training; False for folded weights.
        seed: default seed of the noise in `process`.
    """

    mel: str | Mapping[str, Any] = "bigvgan-24k-100"
    features: Literal["mel", "encodec"] = "mel"
    periods: tuple[Width, ...] = (1, 2, 3, 5, 7)
    hidden_dim: Width = 512
    embedding_dim: Width = 256
    dilations: tuple[Length, ...] = (1, 2, 4)
    drop_path: Fraction = 0.1
    noise_scale: Real = 0.5
    energy_min: Real = 0.031622782
    energy_max: Real = 9.124346
    steps: Depth = 16
    solver: Solver = "midpoint"
    temperature: Real = 0.667
    sway: Real = 0.0
    freeu_backbone: Real = 1.0
    freeu_skip: Real = 1.0
    weight_norm: bool = True
    seed: Seed = 0

    def __post_init__(self) -> None:
        if self.hidden_dim % 16:
            raise ValueError(f"hidden_dim must be a multiple of 16, got {self.hidden_dim}")
        if self.embedding_dim % 2 or self.embedding_dim < 4:
            raise ValueError(f"embedding_dim must be even and 4 at least, got {self.embedding_dim}")
        if not self.energy_min < self.energy_max:
            raise ValueError(f"energy_min {self.energy_min} must be below energy_max {self.energy_max}")


@dataclass(frozen=True)
class PeriodWaveTurboConfig(PeriodWaveConfig):
    """Hyper-parameters of PeriodWave that is sampled and trained with four Euler steps."""

    steps: Depth = 4
    solver: Solver = "euler"
    temperature: Real = 1.0


Field = Callable[[Tensor, Tensor], Tensor]
"""(x, t) -> dx/dt."""


def euler(field: Field, x: Tensor, t: Tensor, dt: Tensor) -> Tensor:
    """Compute an Euler step, of first order."""
    return x + dt * field(x, t)


def midpoint(field: Field, x: Tensor, t: Tensor, dt: Tensor) -> Tensor:
    """Compute a midpoint step, of second order, by two evaluations of the field."""
    half = dt / 2
    return x + dt * field(x + half * field(x, t), t + half)


SOLVERS = {"euler": euler, "midpoint": midpoint}


def time_grid(steps: int, sway: float = 0.0) -> Tensor:
    """Return steps + 1 times from 0 to 1; a negative sway puts more of them near 0."""
    t = torch.linspace(0, 1, steps + 1)
    return t + sway * (torch.cos(torch.pi / 2 * t) - 1 + t)


def sinusoidal_embedding(t: Tensor, dim: int) -> Tensor:
    """Embed times (B,) as (B, dim): sines, then cosines, of 1000 t at dim / 2 geometric frequencies."""
    half = dim // 2
    frequencies = torch.exp(torch.arange(half, device=t.device) * (-math.log(10000) / (half - 1)))
    angles = 1000 * t[:, None] * frequencies
    return torch.cat((angles.sin(), angles.cos()), dim=-1)


class ConvNeXtV2Block(nn.Module):
    """Depthwise convolution, LayerNorm, two linear layers with global response normalisation; (B, dim, T).

    Reference: Woo et al., ConvNeXt V2, CVPR 2023, arXiv:2301.00808.
    """

    def __init__(self, dim: int, inner_dim: int, drop_path: float) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(dim, dim, 7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.expand = nn.Linear(dim, inner_dim)
        self.gamma = nn.Parameter(torch.zeros(inner_dim))
        self.beta = nn.Parameter(torch.zeros(inner_dim))
        self.compress = nn.Linear(inner_dim, dim)
        self.drop_path = drop_path

    def forward(self, x: Tensor) -> Tensor:
        h = F.gelu(self.expand(self.norm(self.depthwise(x).transpose(1, 2))))
        # The response of a channel is its norm over time, relative to the mean channel's.
        response = torch.linalg.vector_norm(h, dim=1, keepdim=True)
        response = response / (response.mean(dim=-1, keepdim=True) + 1e-6)
        h = self.compress(self.gamma * (h * response) + self.beta + h).transpose(1, 2)
        if self.training and self.drop_path:
            kept = torch.rand(x.shape[0], 1, 1, device=x.device) >= self.drop_path
            h = h * kept / (1 - self.drop_path)
        return x + h


class ResidualBlock(nn.Module):
    """Two convolutions of three taps, the first dilated, each after SiLU, added to the input; (B, C, T)."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(channels, channels, 3, dilation=dilation, padding=dilation)
        self.conv2 = nn.Conv1d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.conv1(F.silu(x))))


def _reflected(x: Tensor, padding: int) -> Tensor:
    """Pad the end of (B, C, T) by reflection, or with zeros if it is too short."""
    return F.pad(x, (0, padding), mode="reflect" if padding < x.shape[-1] else "constant")


def _residual_blocks(channels: int, dilations: tuple[int, ...]) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(channels, dilation) for dilation in dilations))


class ConditionEncoder(nn.Module):
    """Features (B, D, frames) -> for each period p, (B, hidden_dim, about 4 frames / p)."""

    def __init__(self, config: PeriodWaveConfig, features: int, stride: int) -> None:
        super().__init__()
        h = config.hidden_dim
        self.embed = nn.Conv1d(features, h, 7, padding=3)
        self.blocks = nn.Sequential(*(ConvNeXtV2Block(h, 3 * h, config.drop_path) for _ in range(8)))
        # Kernel and stride are both odd or both even, so that padding yields exactly stride values a frame.
        kernel = 2 * stride + stride % 2
        self.up = nn.ConvTranspose1d(h, h // 2, kernel, stride, padding=(kernel - stride) // 2)
        self.refine = nn.Sequential(*(ConvNeXtV2Block(h // 2, 2 * h, config.drop_path) for _ in range(4)))
        self.lengths = config.periods
        self.periods = nn.ModuleList(
            nn.Conv1d(h // 2, h, 2 * p, stride=p, padding=p - 1) for p in config.periods
        )

    def forward(self, features: Tensor) -> list[Tensor]:
        x = self.embed(features)
        x = self.refine(self.up(F.silu(self.blocks(x) + x)))
        x = F.silu(x)
        pairs = zip(self.lengths, self.periods, strict=True)
        return [conv(_reflected(x, max(p - 1, 1))) for p, conv in pairs]


class Down(nn.Module):
    """A level of the way down: convolution, time embedding added, two residual blocks.

    (B, inputs, T) and (B, time_dim) -> (B, outputs, T / stride).
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, time_dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
        self.time = nn.Linear(time_dim, outputs)
        self.blocks = _residual_blocks(outputs, (1, 2))

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return self.blocks(self.conv(x) + self.time(time)[..., None])


class Middle(nn.Module):
    """The deepest level, where the condition is added.

    (B, inputs, T) and (B, outputs, at least T / 4) -> (B, outputs, T / 4).
    """

    def __init__(self, inputs: int, outputs: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, 9, 4, padding=4, bias=False)
        self.blocks = _residual_blocks(outputs, dilations)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        x = self.conv(F.silu(x))
        return self.blocks(x + condition[..., : x.shape[-1]])


class Up(nn.Module):
    """A level of the way up: transposed convolution, skip and time embedding added, two residual blocks.

    (B, inputs, T), the skip (B, outputs, 4 T) and (B, time_dim) -> (B, outputs, 4 T).
    """

    def __init__(self, inputs: int, outputs: int, time_dim: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose1d(inputs, outputs, 8, 4, padding=2, bias=False)
        self.time = nn.Linear(time_dim, outputs)
        self.blocks = _residual_blocks(outputs, (1, 2))

    def forward(self, x: Tensor, skip: Tensor, time: Tensor, backbone: float) -> Tensor:
        return self.blocks(backbone * self.conv(F.silu(x)) + skip + self.time(time)[..., None])


class PeriodUNet(nn.Module):
    """The estimator shared by all periods; it sees a waveform as p columns, each of every p-th sample.

    period 3     0 3 6 ...      columns are independent rows of the batch, except that they
                 1 4 7 ...      share time embedding and condition
                 2 5 8 ...
    """

    def __init__(self, config: PeriodWaveConfig) -> None:
        super().__init__()
        h = config.hidden_dim
        self.backbone, self.skip = config.freeu_backbone, config.freeu_skip
        self.downs = nn.ModuleList(
            [Down(1, h // 16, 1, 1, h), Down(h // 16, h // 8, 9, 4, h), Down(h // 8, h // 4, 9, 4, h)]
        )
        self.middle = Middle(h // 4, h, config.dilations)
        self.ups = nn.ModuleList([Up(h, h // 4, h), Up(h // 4, h // 8, h), Up(h // 8, h // 16, h)])

    def forward(self, x: Tensor, time: Tensor, condition: Tensor, period: int) -> Tensor:
        """(B, 1, T), (B, hidden), (B, hidden, frames) -> (B, hidden / 16, T)."""
        batch, length = x.shape[0], x.shape[-1]
        x = _reflected(x, -length % (DEPTH * period))
        x = x.unflatten(-1, (-1, period)).permute(0, 3, 1, 2).flatten(0, 1)
        time = F.silu(time.repeat_interleave(period, dim=0))
        skips = []
        for n, down in enumerate(self.downs):
            x = down(F.silu(x) if n else x, time)
            skips.append(x)
        x = self.middle(x, condition.repeat_interleave(period, dim=0))
        for up in self.ups:
            x = up(x, skips.pop() * self.skip, time, self.backbone)
        return x.unflatten(0, (batch, period)).permute(0, 2, 3, 1).flatten(2)[..., :length]


class FinalBlock(nn.Module):
    """Residual blocks and a convolution to one channel: (B, channels, T) -> (B, 1, T)."""

    def __init__(self, channels: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.blocks = _residual_blocks(channels, dilations)
        self.conv = nn.Conv1d(channels, 1, 7, padding=3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.silu(self.blocks(x)))


class PeriodWave(Vocoder):
    """Mel (B, n_mels, frames) -> waveform (B, 1, frames * hop)."""

    name = "periodwave"
    config_class = PeriodWaveConfig
    small: ClassVar[dict[str, Any]] = {"periods": [1, 2], "hidden_dim": 32, "embedding_dim": 16, "steps": 2}
    reference = (
        "Lee et al., PeriodWave: Multi-Period Flow Matching for High-Fidelity Waveform Generation, ICLR 2025,"
        " arXiv:2408.07547"
    )
    uses_position = True

    def __init__(self, config: PeriodWaveConfig) -> None:
        super().__init__(config)
        c = config
        stride = self.upsampling // DEPTH
        self.check_upsampling(stride * DEPTH)
        columns = DEPTH * math.lcm(*c.periods)
        self.hop_length = math.lcm(columns, self.upsampling) // self.upsampling
        self.has_prior = c.features == "mel"
        self.condition = ConditionEncoder(c, self.input_channels + self.has_prior, stride)
        self.period_embedding = nn.Parameter(torch.randn(len(c.periods), c.embedding_dim))
        self.period_embedding.data *= c.embedding_dim**-0.5
        self.time_mlp = nn.Sequential(
            nn.Linear(2 * c.embedding_dim, 4 * c.hidden_dim),
            nn.SiLU(),
            nn.Linear(4 * c.hidden_dim, c.hidden_dim),
        )
        self.unet = PeriodUNet(c)
        self.final = FinalBlock(c.hidden_dim // 16, c.dilations)
        if c.weight_norm:
            self._normalise()

    def _normalise(self) -> None:
        """Add weight norm as published, to all layers except linear ones and those of ConvNeXt blocks."""
        for part in (self.condition.up, self.condition.periods, self.final):
            normalise_weights(part)
        for layer in list(self.unet.modules()):
            if isinstance(layer, (nn.Conv1d, nn.ConvTranspose1d)):
                weight_norm(layer)

    @property
    def input_channels(self) -> int:
        return self.mel.n_mels if self.config.features == "mel" else ENCODEC_FEATURES

    def prior_std(self, features: Tensor) -> Tensor:
        """Return the noise's standard deviation in each frame, (B, 1, frames) >= 0.1; 1 without prior."""
        if not self.has_prior:
            return torch.ones_like(features[:, :1])
        low, high = self.config.energy_min, self.config.energy_max
        energy = features.exp().sum(1, keepdim=True).sqrt()
        return ((energy - low) / (high - low)).clamp(min=0.1)

    def encode(self, features: Tensor, std: Tensor) -> list[Tensor]:
        """Compute the condition of each period from features and the prior's standard deviation."""
        return self.condition(torch.cat((features, std), dim=1) if self.has_prior else features)

    def field(self, x: Tensor, condition: list[Tensor], t: Tensor) -> Tensor:
        """Estimate dx/dt at x (B, 1, T) and t (B,), with conditions from `encode`."""
        c = self.config
        moment = sinusoidal_embedding(t, c.embedding_dim)
        total: Tensor | None = None
        for n, period in enumerate(c.periods):
            # The published code scales by the square root of hidden_dim, whatever the embedding's size.
            which = (self.period_embedding[n] * math.sqrt(c.hidden_dim)).expand_as(moment)
            y = self.unet(x, self.time_mlp(torch.cat((moment, which), dim=-1)), condition[n], period)
            total = y if total is None else total + y
        assert total is not None
        return self.final(total / math.sqrt(len(c.periods)))

    def forward(
        self,
        features: Tensor,
        noise: Tensor,
        steps: int | None = None,
        solver: Solver | None = None,
        temperature: float | None = None,
        std: Tensor | None = None,
    ) -> Tensor:
        """Integrate the field from noise to a waveform (B, 1, frames * hop), as the published sampler.

        Args:
            features: (B, D, frames).
            noise: standard normal, (B, 1, frames * hop).
            steps, solver, temperature: in place of the configuration's.
            std: the prior's standard deviations (B, 1, frames), in place of those from the features.
        """
        c = self.config
        std = self.prior_std(features) if std is None else std
        advance = SOLVERS[solver or c.solver]
        grid = time_grid(steps or c.steps, c.sway).to(features)
        condition = self.encode(features, std)
        scale = c.noise_scale * (c.temperature if temperature is None else temperature)
        x = noise * scale * std.repeat_interleave(self.upsampling, dim=-1)
        for t, end in itertools.pairwise(grid):
            x = advance(lambda y, at: self.field(y, condition, at.expand(y.shape[0])), x, t, end - t)
        return x

    def process(
        self,
        x: Tensor,
        seed: int | None = None,
        position: int = 0,
        steps: int | None = None,
        solver: Solver | None = None,
        temperature: float | None = None,
        **conditions: Any,
    ) -> Tensor:
        """Vocode (B, D, frames) with noise that depends on the seed and the position.

        Args:
            seed: seed of the noise.
            position: frame of the stream that x begins with.
            steps, solver, temperature: as for `forward`.
        """
        self.check_features(x)
        length = self.output_length(x.shape[-1])
        if length == 0:
            return x.new_zeros(x.shape[0], 1, 0)
        chosen = self.config.seed if seed is None else seed
        z = noise.normal(chosen, 1, position * self.upsampling, length, x.device)
        return self(x, z.to(x).expand(x.shape[0], -1, -1), steps, solver, temperature)

    def path(
        self, features: Tensor, target: Tensor, noise: Tensor, t: Tensor, mask: Tensor
    ) -> dict[str, Tensor]:
        """Estimate the field at a point between noise and a waveform, and compute its target.

        Args:
            features: (B, D, frames).
            target: waveform (B, 1, T), T = frames * hop.
            noise: standard normal (B, 1, T).
            t: (B,) in [0, 1].
            mask: (B, 1, T), 1 where the item has audio and 0 where it is padded.
        Returns:
            "velocity", "velocity_target", the prior's standard deviation "prior_std" and "mask", each
            (B, 1, T). It has no estimate of the waveform, which would need a solver.
        """
        frame_std = self.prior_std(features)
        std = frame_std.repeat_interleave(self.upsampling, dim=-1)
        target = target * mask
        start = noise * self.config.noise_scale * std * mask
        along = t[:, None, None]
        x = (1 - (1 - SIGMA_MIN) * along) * start + along * target
        velocity = self.field(x, self.encode(features, frame_std), t)
        return {
            "velocity": velocity,
            "velocity_target": target - (1 - SIGMA_MIN) * start,
            "prior_std": std,
            "mask": mask,
        }

    def training_outputs(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        features, target = batch["input"], batch["target"]
        t = torch.rand(target.shape[0], device=target.device, dtype=target.dtype)
        mask = torch.ones_like(target)
        return self.path(features, target, torch.randn_like(target), t, mask)


class PeriodWaveTurbo(PeriodWave):
    """PeriodWave fine-tuned through a solver of few steps, with adversarial and mel losses."""

    name = "periodwave-turbo"
    config_class = PeriodWaveTurboConfig
    reference = (
        "Lee et al., Accelerating High-Fidelity Waveform Generation via Adversarial Flow Matching"
        " Optimization, 2024, arXiv:2408.08019"
    )

    def training_outputs(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"estimate": self(batch["input"], torch.randn_like(batch["target"]))}
