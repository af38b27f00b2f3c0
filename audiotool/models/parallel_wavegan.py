"""Parallel WaveGAN: a non-autoregressive WaveNet from noise to waveform, conditioned on a mel.

Yamamoto, Song, Kim: Parallel WaveGAN: A fast waveform generation model based on generative adversarial
networks with multi-resolution spectrogram, ICASSP 2020, arXiv:1910.11480. Names and defaults are those of the
v1 configuration for LJ Speech in kan-bayashi/ParallelWaveGAN.

The centred network depends on some thousand samples on either side; segments with that context stream
exactly. The causal network has a state and no latency. The noise depends on the position, so that streamed
and whole-file output of both networks are equal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiotool.configuration import Depth, Fraction, Length, Seed, Whole, Width
from audiotool.dsp.mel import mel_config
from audiotool.models.base import State
from audiotool.models.layers import noise
from audiotool.models.layers.wavenet import (
    ConvInUpsample,
    ResidualBlock,
    StackShape,
    UpsampleShape,
    run_stack,
    smoothing_context,
)
from audiotool.models.layers.weight_norm import normalise_weights
from audiotool.models.vocoder import Vocoder


@dataclass(frozen=True)
class ParallelWaveGANConfig:
    """Hyper-parameters; the defaults are configuration v1 (1,334,309 parameters without weight norm).

    Args:
        mel: preset or definition of the features; its hop is the product of upsample_scales.
        layers, stacks: residual blocks, and the groups of them in which dilation doubles from 1.
        gate_channels: channels of tanh and sigmoid together.
        aux_context_window: frames on either side in the first convolution over the mel.
        freq_axis_kernel_size: number of bands over which the upsampling smooths.
        upsample_activation, upsample_activation_params: activation after each layer of the upsampling, by
            torch's name.
        use_causal_conv: whether all layers are causal.
        weight_norm: normalise weights, as in training; False for folded weights.
        seed: default seed of the noise in `process`.
    """

    mel: str | Mapping[str, Any] = "parallel-wavegan-22k"
    kernel_size: Length = 3
    layers: Depth = 30
    stacks: Depth = 3
    residual_channels: Width = 64
    gate_channels: Width = 128
    skip_channels: Width = 64
    aux_context_window: Whole = 2
    upsample_scales: tuple[Length, ...] = (4, 4, 4, 4)
    freq_axis_kernel_size: Length = 1
    upsample_activation: str | None = None
    upsample_activation_params: Mapping[str, Any] = field(default_factory=dict)
    dropout: Fraction = 0.0
    bias: bool = True
    use_causal_conv: bool = False
    weight_norm: bool = True
    seed: Seed = 0

    def __post_init__(self) -> None:
        hop = mel_config(self.mel).hop_length
        if math.prod(self.upsample_scales) != hop:
            raise ValueError(
                f"upsample_scales {self.upsample_scales} do not multiply to the mel's hop, {hop}"
            )
        self.stack, self.upsampling  # noqa: B018  (their own checks)

    @property
    def upsampling(self) -> UpsampleShape:
        """Sizes of the upsampling network."""
        return UpsampleShape(
            self.upsample_scales,
            self.freq_axis_kernel_size,
            self.upsample_activation,
            self.upsample_activation_params,
        )

    @property
    def stack(self) -> StackShape:
        """Sizes of the residual stack, checked for consistency."""
        return StackShape(
            layers=self.layers,
            stacks=self.stacks,
            kernel_size=self.kernel_size,
            residual_channels=self.residual_channels,
            gate_channels=self.gate_channels,
            skip_channels=self.skip_channels,
            aux_channels=mel_config(self.mel).n_mels,
            dropout=self.dropout,
            bias=self.bias,
            causal=self.use_causal_conv,
        )


class ParallelWaveGAN(Vocoder):
    """Mel (B, n_mels, frames) to waveform (B, 1, frames * hop)."""

    name = "parallel-wavegan"
    config_class = ParallelWaveGANConfig
    small: ClassVar[dict[str, Any]] = {
        "layers": 3,
        "stacks": 1,
        "residual_channels": 4,
        "gate_channels": 8,
        "skip_channels": 4,
    }
    reference = (
        "Yamamoto et al., Parallel WaveGAN: A fast waveform generation model based on generative adversarial"
        " networks with multi-resolution spectrogram, ICASSP 2020, arXiv:1910.11480"
    )
    uses_position = True

    mean: Tensor
    scale: Tensor

    def __init__(self, config: ParallelWaveGANConfig) -> None:
        super().__init__(config)
        c = config
        shape = c.stack
        self.causal = c.use_causal_conv
        if not self.causal:
            reach = -(-(shape.receptive_field // 2) // self.upsampling)
            frames = reach + smoothing_context(c.upsample_scales) + c.aux_context_window
            self.context = (frames, frames)
            self.latency = frames * self.upsampling

        self.first_conv = nn.Conv1d(1, c.residual_channels, 1)
        self.upsample_net = ConvInUpsample(self.mel.n_mels, c.aux_context_window, c.upsampling, self.causal)
        self.conv_layers = nn.ModuleList(ResidualBlock(shape, d) for d in shape.dilations)
        self.last_conv_layers = nn.Sequential(
            nn.ReLU(),
            nn.Conv1d(c.skip_channels, c.skip_channels, 1),
            nn.ReLU(),
            nn.Conv1d(c.skip_channels, 1, 1),
        )
        if c.weight_norm:
            normalise_weights(self)
        # Statistics of the training set's mels; normalised mels pass unchanged by default.
        self.register_buffer("mean", torch.zeros(self.mel.n_mels))
        self.register_buffer("scale", torch.ones(self.mel.n_mels))

    def forward(self, z: Tensor, features: Tensor) -> Tensor:
        """Generate as the official network does.

        Args:
            z: (B, 1, T) standard normal noise.
            features: (B, n_mels, frames + 2 * aux_context_window) normalised mel, T = frames * hop.
        Returns:
            (B, 1, T), not bounded.
        """
        window = self.config.aux_context_window
        if self.causal:
            # The official causal network takes frames after the last one without using them.
            features = features[..., : features.shape[-1] - window]
        return self._generate(z, features, self._fresh())[0]

    def _fresh(self) -> dict[str, Any]:
        return {"position": 0, "context": None, "upsample": None, "layers": [None] * self.config.layers}

    def _generate(self, z: Tensor, features: Tensor, state: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        condition, upsample = self.upsample_net(features, state["upsample"])
        skips, layers = run_stack(self.conv_layers, self.first_conv(z), condition, state["layers"])
        return self.last_conv_layers(skips), {**state, "upsample": upsample, "layers": layers}

    def _noise(self, seed: int, start: int, features: Tensor) -> Tensor:
        """Return the noise of the samples of `features`, whose first frame is frame `start` of the stream."""
        hop = self.upsampling
        z = noise.normal(seed, 1, start * hop, features.shape[-1] * hop, features.device)
        return z.to(features.dtype).expand(features.shape[0], -1, -1)

    def process(self, x: Tensor, seed: int | None = None, position: int = 0, **conditions: Any) -> Tensor:
        """Vocode a mel (B, n_mels, frames); its first and last frame are replicated.

        Args:
            x: mel as `self.mel` defines it; normalised here with the checkpoint's statistics.
            seed: seed of the noise; None takes the configuration's.
            position: frame of the stream that x begins with.
        Raises:
            InputError: x has another number of bands.
        """
        if self.causal:
            return super().process(x, seed=seed, position=position)
        self.check_features(x)
        z = self._noise(self.config.seed if seed is None else seed, position, x)
        if x.shape[-1] == 0:
            return z
        window = self.config.aux_context_window
        padded = F.pad(self._normalised(x), (window, window), mode="replicate")
        return self._generate(z, padded, self._fresh())[0]

    def _normalised(self, features: Tensor) -> Tensor:
        return (features - self.mean[:, None]) / self.scale[:, None]

    def start(
        self, level: Any = None, seed: int | None = None, position: int = 0, **conditions: Any
    ) -> State:
        return {**self._fresh(), "position": position, "seed": self.config.seed if seed is None else seed}

    def step(self, x: Tensor, state: State = None, final: bool = False) -> tuple[Tensor, State]:
        if not self.causal:
            return super().step(x, state, final)
        self.check_features(x)
        state = self.start() if state is None else state
        z = self._noise(state["seed"], state["position"], x)
        if x.shape[-1] == 0:
            return z, state
        window = self.config.aux_context_window
        features = self._normalised(x)
        before = features[..., :1].expand(-1, -1, window) if state["context"] is None else state["context"]
        features = torch.cat((before, features), dim=-1)
        y, state = self._generate(z, features, state)
        context = features[..., features.shape[-1] - window :].clone()
        return y, {**state, "position": state["position"] + x.shape[-1], "context": context}

    def training_outputs(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Generate from fresh noise; "input" is (B, n_mels, frames)."""
        features = self._normalised(batch["input"])
        window = self.config.aux_context_window
        features = F.pad(features, (window, 0 if self.causal else window), mode="replicate")
        z = torch.randn_like(batch["target"])
        return {"estimate": self._generate(z, features, self._fresh())[0]}
