"""WaveNet as Tacotron 2's vocoder: autoregressive, each sample drawn from a mixture of logistics.

van den Oord et al.: WaveNet: A Generative Model for Raw Audio, 2016, arXiv:1609.03499; Shen et al.: Natural
TTS Synthesis by Conditioning WaveNet on Mel Spectrogram Predictions, ICASSP 2018, arXiv:1712.05884. The
papers leave channels open: names and channels are those of r9y9/wavenet_vocoder's mixture configuration. The
30 layers in 3 cycles and the mel are Tacotron 2's; `kernel_size`, `dropout` and `log_scale_min` are our own
defaults (there 3, 0 and -16), and so is a waveform without pre-emphasis and gain.

Training predicts all samples in parallel from the true samples before them. Synthesis feeds back its own
output. Every layer stores the past inputs of its dilated taps, so that a sample costs one matrix product a
layer instead of its whole receptive field. Tens of thousands of small steps remain, so that a second of
sound takes many seconds of one core (`audiotool bench --vocoders` measures it).

Streaming is causal with a state. The latency is the look-ahead of the mel's upsampling, `condition_context`
frames. Every frame is computed separately in the same shapes, and noise depends on the position, so that
streamed and whole-file output are bit-identical.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiotool.configuration import Depth, Fraction, Length, Positive, Real, Seed, Whole, Width
from audiotool.dsp.mel import mel_config
from audiotool.models.base import State
from audiotool.models.layers import logistic_mixture, noise
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

HALF = math.sqrt(0.5)
"""Gain of a block's sum of residual and input."""


@dataclass(frozen=True)
class WaveNetConfig:
    """Hyper-parameters.

    Args:
        mel: preset or definition of the features; its hop is the product of upsample_scales.
        layers, stacks: residual blocks, and the groups of them in which dilation doubles from 1.
        gate_channels: channels of tanh and sigmoid together.
        components: number of logistics in the mixture.
        log_scale_min: floor of the logarithm of a logistic's scale, in training alone.
        cin_pad: frames on either side in the first convolution over the mel.
        preemphasis: the network outputs x[t] - preemphasis * x[t - 1]; 0 outputs the waveform itself.
        gain: factor of the waveform in training.
        weight_norm: normalise weights, as in training; False for folded weights.
        seed: default seed of the sampling in `process`.
    """

    mel: str | Mapping[str, Any] = "wavenet-24k"
    kernel_size: Length = 2
    layers: Depth = 30
    stacks: Depth = 3
    residual_channels: Width = 128
    gate_channels: Width = 256
    skip_out_channels: Width = 128
    components: Width = 10
    log_scale_min: Real = -7.0
    cin_pad: Whole = 2
    upsample_scales: tuple[Length, ...] = (5, 5, 4, 3)
    freq_axis_kernel_size: Length = 1
    upsample_activation: str | None = None
    upsample_activation_params: Mapping[str, Any] = field(default_factory=dict)
    dropout: Fraction = 0.05
    preemphasis: Fraction = 0.0
    gain: Positive = 1.0
    weight_norm: bool = True
    seed: Seed = 0

    def __post_init__(self) -> None:
        hop = mel_config(self.mel).hop_length
        if math.prod(self.upsample_scales) != hop:
            raise ValueError(
                f"upsample_scales {self.upsample_scales} do not multiply to the mel's hop, {hop}"
            )
        if not 0 <= self.preemphasis < 1 or self.gain <= 0:
            raise ValueError("preemphasis lies in [0, 1), gain is positive")
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
            skip_channels=self.skip_out_channels,
            aux_channels=mel_config(self.mel).n_mels,
            dropout=self.dropout,
            bias=True,
            causal=True,
        )


class WaveNet(Vocoder):
    """Mel (B, n_mels, frames) to waveform (B, 1, frames * hop)."""

    name = "wavenet"
    config_class = WaveNetConfig
    small: ClassVar[dict[str, Any]] = {
        "layers": 4,
        "stacks": 2,
        "residual_channels": 8,
        "gate_channels": 12,
        "skip_out_channels": 10,
        "components": 3,
    }
    reference = (
        "van den Oord et al., WaveNet: A Generative Model for Raw Audio, 2016, arXiv:1609.03499; Shen et al.,"
        " Natural TTS Synthesis by Conditioning WaveNet on Mel Spectrogram Predictions, ICASSP 2018,"
        " arXiv:1712.05884"
    )
    causal = True
    autoregressive = True

    mean: Tensor
    scale: Tensor

    def __init__(self, config: WaveNetConfig) -> None:
        super().__init__(config)
        c = config
        self.condition_context = c.cin_pad + smoothing_context(c.upsample_scales)
        self.latency = self.condition_context * self.upsampling
        # Statistics of the training set's mels; normalised mels pass unchanged by default.
        self.register_buffer("mean", torch.zeros(self.mel.n_mels))
        self.register_buffer("scale", torch.ones(self.mel.n_mels))
        self.first_conv = nn.Conv1d(1, c.residual_channels, 1)
        self.upsample_net = ConvInUpsample(self.mel.n_mels, c.cin_pad, c.upsampling, causal=False)
        self.conv_layers = nn.ModuleList(ResidualBlock(c.stack, d) for d in c.stack.dilations)
        self.last_conv_layers = nn.Sequential(
            nn.ReLU(),
            nn.Conv1d(c.skip_out_channels, c.skip_out_channels, 1),
            nn.ReLU(),
            nn.Conv1d(c.skip_out_channels, 3 * c.components, 1),
        )
        for layer in self.modules():
            if isinstance(layer, nn.Conv1d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        if c.weight_norm:
            normalise_weights(self)

    def condition(self, features: Tensor) -> Tensor:
        """Upsample a mel (B, M, frames) to (B, M, frames * hop); its first and last frame are replicated."""
        normalised = (features - self.mean[:, None]) / self.scale[:, None]
        pad = self.config.cin_pad
        return self.upsample_net(F.pad(normalised, (pad, pad), mode="replicate"))[0]

    def forward(self, waveform: Tensor, condition: Tensor) -> Tensor:
        """Predict the distributions of all next samples.

        Args:
            waveform: (B, 1, T) the samples before the predicted ones; the first is 0, before the stream.
            condition: (B, n_mels, T) the upsampled mel at the predicted samples.
        Returns:
            mixture parameters (B, 3 * components, T).
        """
        skips, _ = run_stack(self.conv_layers, self.first_conv(waveform), condition)
        return self.last_conv_layers(skips)

    def training_outputs(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return mixture "parameters" (B, 3 * components, T) and the true "signal" (B, 1, T)."""
        c = self.config
        signal = batch["target"] * c.gain
        if c.preemphasis:
            signal = signal - c.preemphasis * F.pad(signal, (1, -1))
        parameters = self(F.pad(signal, (1, -1)), self.condition(batch["input"]))
        weights, means, log_scales = parameters.chunk(3, dim=1)
        parameters = torch.cat((weights, means, log_scales.clamp(min=c.log_scale_min)), dim=1)
        return {"parameters": parameters, "signal": signal.clamp(-1.0, 1.0)}

    def start(self, level: Any = None, seed: int | None = None, **conditions: Any) -> State:
        return {
            "seed": self.config.seed if seed is None else seed,
            "next": 0,
            "frames": None,
            "memories": None,
            "sample": None,
            "emphasised": None,
        }

    def step(self, x: Tensor, state: State = None, final: bool = False) -> tuple[Tensor, State]:
        """Vocode a chunk; the output of a frame is complete `condition_context` frames later.

        Raises:
            InputError: x has another number of bands.
        """
        self.check_features(x)
        state = dict(self.start() if state is None else state)
        frames = x if state["frames"] is None else torch.cat((state["frames"], x), dim=-1)
        reach, position = self.condition_context, state["next"]
        kept_from = max(0, position - reach)
        end = kept_from + frames.shape[-1]
        network = _Recurrence(self) if end > position else None
        outputs = [x.new_zeros(x.shape[0], 1, 0)]
        while network is not None and (position + reach < end or (final and position < end)):
            first = max(0, position - reach)
            window = frames[..., first - kept_from : position + reach + 1 - kept_from]
            begin = (position - first) * self.upsampling
            condition = self.condition(window)[..., begin : begin + self.upsampling]
            outputs.append(network.generate(condition, position * self.upsampling, state))
            position += 1
        state["next"] = position
        state["frames"] = frames[..., max(0, position - reach) - kept_from :].clone()
        return torch.cat(outputs, dim=-1), state


def _bias(conv: nn.Conv1d) -> Tensor:
    assert conv.bias is not None
    return conv.bias


class _Recurrence:
    """The network for one sample at a time: weights as matrices, inputs and outputs (B, channels).

    Each layer has a buffer (history + n, B, residual) of past inputs, oldest first, where history is the
    reach of its oldest tap. One matrix product at the end computes the skips of all layers.
    """

    def __init__(self, model: WaveNet) -> None:
        self.config = model.config
        blocks = cast("list[ResidualBlock]", list(model.conv_layers))
        self.dilations = model.config.stack.dilations
        self.histories = [(model.config.kernel_size - 1) * d for d in self.dilations]
        self.first = (model.first_conv.weight[:, 0, 0], _bias(model.first_conv))
        # (taps * residual, gate), the oldest tap first
        self.taps = [b.conv.weight.permute(2, 1, 0).flatten(0, 1) for b in blocks]
        self.taps_bias = torch.cat([_bias(b.conv) for b in blocks])
        self.aux = torch.cat([b.conv1x1_aux.weight[..., 0] for b in blocks])
        self.out = [(_bias(b.conv1x1_out) * HALF, b.conv1x1_out.weight[..., 0].T * HALF) for b in blocks]
        share = math.sqrt(1.0 / len(blocks))
        self.skip = torch.cat([b.conv1x1_skip.weight[..., 0].T for b in blocks]) * share
        self.skip_bias = torch.stack([_bias(b.conv1x1_skip) for b in blocks]).sum(0) * share
        head = cast("list[nn.Conv1d]", [model.last_conv_layers[n] for n in (1, 3)])
        self.head = [(_bias(c), c.weight[..., 0].T) for c in head]

    def generate(self, condition: Tensor, position: int, state: dict[str, Any]) -> Tensor:
        """Generate samples (B, 1, n) for an upsampled condition (B, M, n); `state` is updated in place."""
        c, batch, n = self.config, condition.shape[0], condition.shape[-1]
        gates = torch.matmul(self.aux, condition) + self.taps_bias[:, None]  # (B, layers * gate, n)
        layers = gates.permute(2, 0, 1).unflatten(2, (c.layers, -1)).unbind(2)
        buffers = [self._buffer(condition, state["memories"], k, n) for k in range(c.layers)]
        drawn = noise.uniform(state["seed"], c.components + 1, position, n, condition.device).to(
            condition.dtype
        )
        gumbel, logistic = logistic_mixture.sampling_noise(drawn)
        sample, emphasised = state["sample"], state["emphasised"]
        if sample is None:
            sample = emphasised = condition.new_zeros(batch, 1)
        output = condition.new_empty(batch, 1, n)
        for t in range(n):
            parameters = self._advance(sample, t, layers, buffers)
            drawn_at = slice(t, t + 1)
            sample = logistic_mixture.sample(
                parameters[..., None], gumbel[..., drawn_at], logistic[..., drawn_at]
            )[..., 0]
            emphasised = sample + c.preemphasis * emphasised
            output[..., t] = emphasised / c.gain
        state.update(
            memories=[b[n:].transpose(0, 1).clone() for b in buffers], sample=sample, emphasised=emphasised
        )
        return output

    def _buffer(self, condition: Tensor, memories: list[Tensor] | None, layer: int, n: int) -> Tensor:
        shape = (self.histories[layer] + n, condition.shape[0], self.config.residual_channels)
        buffer = condition.new_zeros(shape)
        if memories is not None:
            buffer[: self.histories[layer]] = memories[layer].transpose(0, 1)
        return buffer

    def _advance(self, sample: Tensor, t: int, layers: tuple[Tensor, ...], buffers: list[Tensor]) -> Tensor:
        """Return the mixture parameters (B, 3 * components) of the sample after `sample`, the one at t."""
        x = torch.addcmul(self.first[1], sample, self.first[0])
        gated = []
        for k, buffer in enumerate(buffers):
            now = self.histories[k] + t
            buffer[now] = x
            taps = buffer[t : now + 1 : self.dilations[k]].transpose(0, 1).flatten(1)
            content, gate = torch.addmm(layers[k][t], taps, self.taps[k]).chunk(2, dim=1)
            y = torch.tanh(content) * torch.sigmoid(gate)
            gated.append(y)
            x = torch.addmm(torch.add(self.out[k][0], x, alpha=HALF), y, self.out[k][1])
        skip = torch.addmm(self.skip_bias, torch.cat(gated, dim=1), self.skip)
        for bias, weight in self.head:
            skip = torch.addmm(bias, torch.relu(skip), weight)
        return skip
