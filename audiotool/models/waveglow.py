"""WaveGlow: an invertible flow between Gaussian noise and waveform, conditioned on a mel.

Prenger, Valle, Catanzaro: WaveGlow: A Flow-based Generative Network for Speech Synthesis, ICASSP 2019,
arXiv:1811.00002. Names and defaults are those of NVIDIA/waveglow.

Eight neighbouring samples become eight channels. Each flow mixes the channels by an invertible matrix. A
non-causal WaveNet then predicts scale and shift of the second half from the first half and the mel:

    audio -> [W_k] -> x0 ---------------------+-> x0
                      x1 * exp(log_s) + b  ----> x1       (b, log_s) = WN_k(x0, mel)

Two channels are output as noise before every fourth flow. Synthesis runs the flows backwards. Each depends on
some frames on either side, and segments with this context stream exactly.

If n_group does not divide the hop, the last samples, which fill no group, are left out, as in the official
program. Segments of a stream then begin where groups of the whole file begin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from audiotool.configuration import Depth, Length, Real, Seed, Width
from audiotool.dsp.mel import mel_config
from audiotool.dsp.stft import stft
from audiotool.models.layers import noise
from audiotool.models.layers.weight_norm import normalise_weights
from audiotool.models.vocoder import Vocoder

BIAS_FRAMES = 88
"""Number of frames of zeros from which the model's bias is synthesised, as in the official denoiser."""


@dataclass(frozen=True)
class WaveGlowConfig:
    """Hyper-parameters; the defaults are the released 256-channel network (87,731,816 parameters).

    Args:
        mel: preset or definition of the features.
        n_group: neighbouring samples taken as channels.
        n_early_every, n_early_size: interval in flows and number of channels of early outputs.
        n_layers, n_channels, kernel_size: sizes of each flow's WaveNet; layer i is dilated by 2^i.
        upsample_kernel: kernel size of the upsampling in samples.
        sigma: standard deviation of the noise in synthesis.
        denoiser_strength: share of the bias spectrum that is subtracted after synthesis; 0 subtracts nothing,
            and the official denoiser takes 0.01 to 0.1.
        weight_norm: normalise weights, as in training; False for folded weights.
        seed: default seed of the noise in `process`.
    """

    mel: str | Mapping[str, Any] = "tacotron2"
    n_flows: Depth = 12
    n_group: Width = 8
    n_early_every: Depth = 4
    n_early_size: Depth = 2
    n_layers: Depth = 8
    n_channels: Width = 256
    kernel_size: Length = 3
    upsample_kernel: Length = 1024
    sigma: Real = 0.6
    denoiser_strength: Real = 0.0
    weight_norm: bool = True
    seed: Seed = 0

    def __post_init__(self) -> None:
        hop = mel_config(self.mel).hop_length
        if self.n_group % 2 or self.n_early_size % 2:
            raise ValueError(f"n_group ({self.n_group}) and n_early_size ({self.n_early_size}) must be even")
        if self.upsample_kernel < hop:
            raise ValueError(f"upsample_kernel {self.upsample_kernel} is below the mel's hop {hop}")
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size {self.kernel_size} has no centre")
        if self.channels[-1] < 2:
            raise ValueError(f"after {self.n_flows} flows no channels are left: take fewer early outputs")

    @property
    def channels(self) -> list[int]:
        """Number of channels of each flow."""
        early = [self.leaves_before(k) for k in range(self.n_flows)]
        return [self.n_group - self.n_early_size * sum(early[: k + 1]) for k in range(self.n_flows)]

    def leaves_before(self, flow: int) -> bool:
        """Return whether early outputs are split off before `flow`."""
        return flow > 0 and flow % self.n_early_every == 0


class InvertibleConv(nn.Module):
    """Mix channels by a square matrix that starts as a rotation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        rotation = torch.linalg.qr(torch.randn(channels, channels))[0]
        if rotation.device.type != "meta" and torch.det(rotation) < 0:
            rotation[:, 0] *= -1
        self.conv = nn.Conv1d(channels, channels, 1, bias=False)
        with torch.no_grad():
            self.conv.weight.copy_(rotation[..., None])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mix (B, C, T); return (B, C, T) and the log-determinant, summed over B * T."""
        # logdet of a negative determinant is nan, as in the official loss: such a matrix is no longer a flow.
        return self.conv(x), x.shape[0] * x.shape[-1] * torch.logdet(self.conv.weight[..., 0].float())

    def inverse(self, x: Tensor) -> Tensor:
        matrix = torch.linalg.inv(self.conv.weight[..., 0].float()).to(x.dtype)
        return torch.matmul(matrix, x)


class AffineNetwork(nn.Module):
    """WaveNet that predicts shift and scale: (B, half, T) and mel (B, M, T) -> (B, 2 * half, T)."""

    def __init__(self, half: int, features: int, layers: int, channels: int, kernel_size: int) -> None:
        super().__init__()
        self.channels = channels
        self.start = nn.Conv1d(half, channels, 1)
        self.cond_layer = nn.Conv1d(features, 2 * channels * layers, 1)
        self.in_layers = nn.ModuleList(
            nn.Conv1d(
                channels, 2 * channels, kernel_size, dilation=2**i, padding=(kernel_size - 1) // 2 * 2**i
            )
            for i in range(layers)
        )
        self.res_skip_layers = nn.ModuleList(
            nn.Conv1d(channels, channels if i == layers - 1 else 2 * channels, 1) for i in range(layers)
        )
        self.end = nn.Conv1d(channels, 2 * half, 1)
        nn.init.zeros_(self.end.weight)
        nn.init.zeros_(self.end.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        x = self.start(x)
        conditions = self.cond_layer(features).chunk(len(self.in_layers), dim=1)
        total = torch.zeros_like(x)
        for conv, res_skip, condition in zip(self.in_layers, self.res_skip_layers, conditions, strict=True):
            content, gate = (conv(x) + condition).chunk(2, dim=1)
            y = res_skip(torch.tanh(content) * torch.sigmoid(gate))
            if y.shape[1] > self.channels:
                x = x + y[:, : self.channels]
            total = total + y[:, -self.channels :]
        return self.end(total)


class WaveGlow(Vocoder):
    """Mel (B, n_mels, frames) to waveform (B, 1, frames * hop)."""

    name = "waveglow"
    config_class = WaveGlowConfig
    small: ClassVar[dict[str, Any]] = {"n_flows": 4, "n_early_every": 2, "n_layers": 2, "n_channels": 8}
    reference = (
        "Prenger, Valle, Catanzaro, WaveGlow: A Flow-based Generative Network for Speech Synthesis,"
        " ICASSP 2019, arXiv:1811.00002"
    )
    uses_position = True

    def __init__(self, config: WaveGlowConfig) -> None:
        super().__init__(config)
        c, bands, hop = config, self.mel.n_mels, self.upsampling
        self.upsample = nn.ConvTranspose1d(bands, bands, c.upsample_kernel, stride=hop)
        self.convinv = nn.ModuleList(InvertibleConv(channels) for channels in c.channels)
        self.WN = nn.ModuleList(
            AffineNetwork(channels // 2, bands * c.n_group, c.n_layers, c.n_channels, c.kernel_size)
            for channels in c.channels
        )
        groups = c.n_flows * (c.kernel_size - 1) // 2 * (2**c.n_layers - 1)
        reach = -(-groups * c.n_group // hop)
        if c.denoiser_strength:
            reach += -(-self.mel.n_fft // hop)
        if hop % c.n_group:
            # A segment may begin or end within a group of the whole file. Such groups are left out.
            reach += -(-c.n_group // hop)
        self.context = (reach + -(-c.upsample_kernel // hop) - 1, reach)
        self.latency = reach * hop
        if c.weight_norm:
            for network in self.WN:
                normalise_weights(
                    nn.ModuleList(part for name, part in network.named_children() if name != "end")
                )

    def condition(self, spread: Tensor) -> Tensor:
        """Group an upsampled mel: (B, M, T) -> (B, M * n_group, T // n_group), bands outermost."""
        spread = spread[..., : spread.shape[-1] // self.config.n_group * self.config.n_group]
        return spread.unflatten(-1, (-1, self.config.n_group)).transpose(2, 3).flatten(1, 2)

    def forward(self, features: Tensor, waveform: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Transform a waveform to noise, as the official network.

        Args:
            features: (B, n_mels, frames).
            waveform: (B, T) covered by the frames; trailing samples of an incomplete group are left out.
        Returns:
            noise (B, n_group, T / n_group), early outputs first; log_s of each flow; log-determinant of each
            flow's matrix.
        """
        c = self.config
        waveform = waveform[..., : waveform.shape[-1] // c.n_group * c.n_group]
        condition = self.condition(self.upsample(features)[..., : waveform.shape[-1]])
        x = waveform.unflatten(-1, (-1, c.n_group)).transpose(1, 2)
        early, log_scales, log_determinants = [], [], []
        for k, (mix, network) in enumerate(zip(self.convinv, self.WN, strict=True)):
            if c.leaves_before(k):
                early.append(x[:, : c.n_early_size])
                x = x[:, c.n_early_size :]
            x, log_determinant = mix(x)
            kept, changed = x.chunk(2, dim=1)
            shift, log_scale = network(kept, condition).chunk(2, dim=1)
            x = torch.cat((kept, log_scale.exp() * changed + shift), dim=1)
            log_scales.append(log_scale)
            log_determinants.append(log_determinant)
        return torch.cat((*early, x), dim=1), log_scales, log_determinants

    def output_length(self, length: int) -> int:
        return length * self.upsampling // self.config.n_group * self.config.n_group

    def inverse(self, features: Tensor, z: Tensor, skipped: int = 0) -> Tensor:
        """Transform noise to a waveform.

        Args:
            features: (B, n_mels, frames).
            z: (B, n_group, (frames * hop - skipped) // n_group), sigma included; first the channels of
                the last flow, then the early outputs, the latest first.
            skipped: samples of the first frame before the first group.
        Returns:
            (B, samples of all groups).
        """
        c = self.config
        condition = self.condition(
            self.upsample(features)[..., skipped : features.shape[-1] * self.upsampling]
        )
        used = c.channels[-1]
        x = z[:, :used]
        for k in reversed(range(c.n_flows)):
            kept, changed = x.chunk(2, dim=1)
            shift, log_scale = self.WN[k](kept, condition).chunk(2, dim=1)
            x = torch.cat((kept, (changed - shift) * torch.exp(-log_scale)), dim=1)
            x = cast(InvertibleConv, self.convinv[k]).inverse(x)
            if c.leaves_before(k):
                x = torch.cat((z[:, used : used + c.n_early_size], x), dim=1)
                used += c.n_early_size
        return x.transpose(1, 2).flatten(1)

    def process(self, x: Tensor, seed: int | None = None, position: int = 0, **conditions: Any) -> Tensor:
        """Vocode a mel (B, n_mels, frames).

        Args:
            seed: seed of the noise; None takes the configuration's.
            position: frame of the stream that x begins with.
        Raises:
            InputError: x has another number of bands.
        """
        self.check_features(x)
        c = self.config
        if x.shape[-1] == 0:
            return x.new_zeros(x.shape[0], 1, 0)
        start, stop = position * self.upsampling, (position + x.shape[-1]) * self.upsampling
        first, last = -(-start // c.n_group), stop // c.n_group
        skipped = first * c.n_group - start
        if last <= first:
            return x.new_zeros(x.shape[0], 1, self.output_length(x.shape[-1]))
        seed = c.seed if seed is None else seed
        z = noise.normal(seed, c.n_group, first, last - first, x.device)
        y = self.inverse(x, (z * c.sigma).to(x.dtype).expand(x.shape[0], -1, -1), skipped)
        # The previous segment of a stream outputs the samples that are skipped here.
        y = nn.functional.pad(y, (skipped, 0))
        if c.denoiser_strength:
            y = self.denoise(y, c.denoiser_strength)
        return y[:, None]

    def denoise(self, waveform: Tensor, strength: float) -> Tensor:
        """Subtract the bias, magnitudes of the output for a zero mel, from (B, T), and keep phases."""
        n_fft, hop, length = self.mel.n_fft, self.mel.hop_length, waveform.shape[-1]
        zero_mel = waveform.new_zeros(1, self.mel.n_mels, BIAS_FRAMES)
        groups = BIAS_FRAMES * hop // self.config.n_group
        bias_waveform = self.inverse(zero_mel, waveform.new_zeros(1, self.config.n_group, groups))
        bias = stft(bias_waveform, n_fft, hop)[..., :1].abs()
        # Reflection at the edges takes half a frame, so shorter signals are padded.
        padded = nn.functional.pad(waveform, (0, max(0, n_fft - length)))
        spec = stft(padded, n_fft, hop)
        magnitude = (spec.abs() - strength * bias).clamp(min=0.0)
        window = torch.hann_window(n_fft, dtype=waveform.dtype, device=waveform.device)
        clean = torch.istft(
            torch.polar(magnitude, spec.angle()), n_fft, hop, window=window, length=padded.shape[-1]
        )
        return clean[:, :length]

    def training_outputs(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return noise "z" of the target (B, n_group, T // n_group) and the summed "log_determinant"."""
        z, log_scales, log_determinants = self(batch["input"], batch["target"][:, 0])
        total = torch.stack([s.sum() for s in log_scales]).sum() + torch.stack(log_determinants).sum()
        return {"z": z, "log_determinant": total}
