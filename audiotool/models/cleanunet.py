"""CleanUNet: causal waveform denoising with self-attention in a U-Net's bottleneck.

Kong, Ping, Dantrey, Catanzaro: Speech Denoising in the Waveform Domain with Self-Attention, ICASSP 2022,
arXiv:2202.07790.

No layer pads. With kernel K, stride S and D levels, one bottleneck frame covers S^D new samples, and output
sample t (a multiple of S^D) needs input up to t + (K-1)(S^D-1)/(S-1), 765 samples as published. The latency
is 767: that, up to the end of the block of 32 samples over which a running level is held.
In a stream the encoder's skips wait in the state until the decoder comes back up to their frame.

Level: the published network divides by the standard deviation of the whole utterance. Files get exactly that
in a first pass; a live stream gets a running estimate; `normalise="running"` trains with the estimate, so
that files and live streams agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiotool.configuration import Depth, Extent, Length, Rate, Seconds, Width
from audiotool.dsp.level import Level
from audiotool.errors import ExportError
from audiotool.models.base import BEYOND, Model, State, measure_level, without_end
from audiotool.models.layers.attention import cached_attention, causal_attention
from audiotool.models.layers.conv import StreamingConv1d, StreamingConvTranspose1d, pointwise
from audiotool.models.layers.level import RunningLevel

LEVEL_BLOCK = 32
"""Samples over which a running level is held: 2 ms at 16 kHz."""


MAX_HOP = 1 << 20
"""Greatest number of samples of a bottleneck frame: a minute at 16 kHz."""

ENDLESS = 1 << 40
"""Number of frames of a stream that has not ended."""


@dataclass(frozen=True)
class CleanUNetConfig:
    """Hyper-parameters; the defaults are the published DNS-large network (46,071,937 parameters).

    Args:
        sample_rate: Hz.
        channels_h: channels of the first level; doubled at each level up to max_channels.
        n_layers: levels of the encoder and of the decoder.
        attention_window: bottleneck frames that a frame attends to, itself included; None is the whole past,
            as published. 625 frames of 256 samples are 10 s at 16 kHz.
        normalise: "utterance" (published) or "running".
        level_seconds: time constant of the running level.
    """

    sample_rate: Rate = 16000
    channels_input: Literal[1] = 1
    channels_output: Width = 1
    channels_h: Width = 64
    max_channels: Width = 768
    n_layers: Depth = 8
    kernel_size: Length = 4
    stride: Length = 2
    transformer_layers: Depth = 5
    transformer_heads: Depth = 8
    transformer_dim: Width = 512
    transformer_inner_dim: Width = 2048
    attention_window: Extent | None = 625
    normalise: Literal["utterance", "running"] = "utterance"
    level_seconds: Seconds = 3.0

    def __post_init__(self) -> None:
        if self.transformer_dim % self.transformer_heads:
            raise ValueError(
                f"transformer_dim ({self.transformer_dim}) must be a multiple of transformer_heads"
                f" ({self.transformer_heads})"
            )
        if self.stride**self.n_layers > MAX_HOP:
            raise ValueError(
                f"stride {self.stride} in n_layers {self.n_layers} makes steps of more than {MAX_HOP} samples"
            )


class CausalSelfAttention(nn.Module):
    """Multi-head attention of a frame over itself and the past, then add and LayerNorm (B, T, D)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.w_qs = nn.Linear(dim, dim, bias=False)
        self.w_ks = nn.Linear(dim, dim, bias=False)
        self.w_vs = nn.Linear(dim, dim, bias=False)
        self.fc = nn.Linear(dim, dim, bias=False)
        self.layer_norm = nn.LayerNorm(dim, eps=1e-6)

    def forward(
        self, x: Tensor, window: int | None, state: State, before: Tensor | None = None
    ) -> tuple[Tensor, State]:
        projections = (self.w_qs, self.w_ks, self.w_vs)
        q, k, v = (w(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for w in projections)
        if before is None:
            attended, state = causal_attention(q, k, v, window, state)
        else:
            attended, state = cached_attention(q, k, v, state, before)
        return self.layer_norm(x + self.fc(attended.transpose(1, 2).flatten(2))), state


class FeedForward(nn.Module):
    """Two linear layers with a ReLU between, then add and LayerNorm (B, T, D)."""

    def __init__(self, dim: int, inner_dim: int) -> None:
        super().__init__()
        self.w_1 = nn.Linear(dim, inner_dim)
        self.w_2 = nn.Linear(inner_dim, dim)
        self.layer_norm = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer_norm(x + self.w_2(F.relu(self.w_1(x))))


class TransformerLayer(nn.Module):
    """Self-attention and feed-forward, both post-norm (B, T, D)."""

    def __init__(self, config: CleanUNetConfig) -> None:
        super().__init__()
        self.slf_attn = CausalSelfAttention(config.transformer_dim, config.transformer_heads)
        self.pos_ffn = FeedForward(config.transformer_dim, config.transformer_inner_dim)

    def forward(
        self, x: Tensor, window: int | None, state: State, before: Tensor | None = None
    ) -> tuple[Tensor, State]:
        x, state = self.slf_attn(x, window, state, before)
        return self.pos_ffn(x), state


class TransformerEncoder(nn.Module):
    """LayerNorm, then the layers; no positional code. State: one key/value cache a layer.

    With `before`, frames so far (B, 1), caches are as long as the window: see `cached_attention`.
    """

    def __init__(self, config: CleanUNetConfig) -> None:
        super().__init__()
        self.window = config.attention_window
        self.layer_norm = nn.LayerNorm(config.transformer_dim, eps=1e-6)
        self.layer_stack = nn.ModuleList(TransformerLayer(config) for _ in range(config.transformer_layers))

    def forward(self, x: Tensor, state: State = None, before: Tensor | None = None) -> tuple[Tensor, State]:
        x = self.layer_norm(x)
        caches = []
        for n, layer in enumerate(self.layer_stack):
            x, cache = layer(x, self.window, None if state is None else state[n], before)
            caches.append(cache)
        return x, caches


class EncoderLevel(nn.Sequential):
    """Strided convolution, ReLU, and a gated pointwise convolution: (B, C, T) -> (B, channels, frames).

    State: the convolution's.
    """

    def __init__(self, in_channels: int, channels: int, kernel_size: int, stride: int) -> None:
        super().__init__(
            StreamingConv1d(in_channels, channels, kernel_size, stride),
            nn.ReLU(),
            nn.Conv1d(channels, 2 * channels, 1),
            nn.GLU(dim=1),
        )

    def forward(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        conv, relu, expand, glu = self
        x, state = conv(x, state)
        return glu(pointwise(expand, relu(x))), state  # type: ignore[arg-type]


class DecoderLevel(nn.Sequential):
    """Gated pointwise convolution, transposed convolution, and a ReLU in all levels but the outermost."""

    def __init__(self, channels: int, out_channels: int, kernel_size: int, stride: int, relu: bool) -> None:
        super().__init__(
            nn.Conv1d(channels, 2 * channels, 1),
            nn.GLU(dim=1),
            StreamingConvTranspose1d(channels, out_channels, kernel_size, stride),
            *([nn.ReLU()] if relu else []),
        )

    def forward(
        self, x: Tensor, state: State = None, final: bool = False, present: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """(B, C, T) -> (B, out, T * stride); frames where `present`, (B, 1, T), is 0 add nothing."""
        expand, glu, conv, *relu = self
        x = glu(pointwise(expand, x))  # type: ignore[arg-type]
        y, state = conv(x if present is None else x * present, state, final)
        return (relu[0](y) if relu else y), state


class CleanUNet(Model):
    """Denoise a waveform (B, 1, T) -> (B, 1, T)."""

    name = "cleanunet"
    config_class = CleanUNetConfig
    small: ClassVar[dict[str, Any]] = {
        "channels_h": 4,
        "max_channels": 8,
        "n_layers": 3,
        "kernel_size": 8,
        "stride": 4,
        "transformer_layers": 1,
        "transformer_heads": 2,
        "transformer_dim": 16,
        "transformer_inner_dim": 32,
    }
    reference = "Kong et al., Speech Denoising in the Waveform Domain with Self-Attention, ICASSP 2022"
    drain_value = BEYOND
    state_meanings: ClassVar[dict[str, str]] = {
        "hops": "hops so far, those after the end included",
        "samples": "samples so far, without those after the end",
        "level": "standard deviation of the whole recording; 0 where it is not known, for the running level",
        "running_level": "running level: mean power, and the weight it has gathered",
        "gains": "levels by which the samples inside the model were divided",
        "encoder": "samples or frames that a level's next frame still needs",
        "skips": "a level's frames that wait for the decoder",
        "attention": "a layer's keys (0) and values (1) of the frames before",
        "decoder": "sums that a level's next frame still adds to",
    }

    def __init__(self, config: CleanUNetConfig) -> None:
        super().__init__(config)
        c = config
        self.sample_rate = c.sample_rate
        self.hop_length = c.stride**c.n_layers
        level_block = min(LEVEL_BLOCK, self.hop_length)
        lookahead = (c.kernel_size - 1) * sum(c.stride**i for i in range(c.n_layers))
        # A running level needs its whole block.
        self.latency = lookahead // level_block * level_block + level_block - 1
        self.uses_level = c.normalise == "utterance"

        self.encoder = nn.ModuleList()
        self.decoder = nn.ModuleList()
        inner, outer, width = int(c.channels_input), c.channels_output, c.channels_h
        for level in range(c.n_layers):
            self.encoder.append(EncoderLevel(inner, width, c.kernel_size, c.stride))
            relu = level > 0
            self.decoder.insert(0, DecoderLevel(width, outer, c.kernel_size, c.stride, relu))
            inner = outer = width
            width = min(2 * width, c.max_channels)
        self.tsfm_conv1 = nn.Conv1d(inner, c.transformer_dim, 1)
        self.tsfm_encoder = TransformerEncoder(c)
        self.tsfm_conv2 = nn.Conv1d(c.transformer_dim, inner, 1)
        self.level = RunningLevel(level_block, c.level_seconds * c.sample_rate / level_block)
        self.apply(_rescale)

    def padded_length(self, length: int) -> int:
        """Return the least length of whole frames at every level, as the official zero padding on the
        right."""
        k, s = self.config.kernel_size, self.config.stride
        frames = length
        for _ in range(self.config.n_layers):
            frames = 1 if frames < k else 1 + -(-(frames - k) // s)
        for _ in range(self.config.n_layers):
            frames = (frames - 1) * s + k
        return frames

    def forward(self, noisy: Tensor, level: Level[Tensor] | None = None) -> Tensor:
        """Denoise whole utterances (B, 1, T) or (B, T) -> (B, 1, T), as the official network."""
        if noisy.dim() == 2:
            noisy = noisy[:, None]
        if self.uses_level and level is None:
            level = measure_level(noisy)
        return self.process(noisy, level=level)

    def start(self, level: Level[Tensor] | None = None, **conditions: Any) -> State:
        depth = self.config.n_layers
        gain = None if level is None or not self.uses_level else level.std + 1e-3
        return {
            "length": 0,
            "gain": gain,
            "level": None,
            "pending": None,
            "gains": None,
            "encoder": [None] * depth,
            "skips": [None] * depth,
            "attention": None,
            "decoder": [None] * depth,
        }

    def step(self, x: Tensor, state: State = None, final: bool = False) -> tuple[Tensor, State]:
        if torch.compiler.is_exporting():
            return self._exported(x, state)
        state = dict(self.start() if state is None else state)
        state["length"] += x.shape[-1]
        if final:
            length = state["length"]
            x = F.pad(x, (0, self.padded_length(length) - length))
        x, gains = self._normalise(x, state, final)
        encoded, skips = x, []
        encoder_states = list(state["encoder"])
        for n, down in enumerate(self.encoder):
            encoded, encoder_states[n] = down(encoded, encoder_states[n])
            waiting = state["skips"][n]
            skips.append(encoded if waiting is None else torch.cat((waiting, encoded), dim=-1))
        hidden = pointwise(self.tsfm_conv1, encoded).transpose(1, 2)
        hidden, attention = self.tsfm_encoder(hidden, state["attention"])
        y = pointwise(self.tsfm_conv2, hidden.transpose(1, 2))
        decoder_states = list(state["decoder"])
        for n, up in enumerate(self.decoder):
            skip = skips[-1 - n]
            y = y + skip[..., : y.shape[-1]]
            skips[-1 - n] = skip[..., y.shape[-1] :].clone()
            y, decoder_states[n] = up(y, decoder_states[n], final)
        y, gains = self._restore(y, gains)
        state.update(
            encoder=encoder_states, skips=skips, attention=attention, decoder=decoder_states, gains=gains
        )
        return y, state

    def _normalise(self, x: Tensor, state: dict[str, Any], final: bool) -> tuple[Tensor, Tensor]:
        """Divide by the level; also return the gains of the samples whose output is still to come."""
        if state["gain"] is not None:
            return x / state["gain"], state["gain"]
        if state["pending"] is not None:
            x = torch.cat((state["pending"], x), dim=-1)
        block, total = self.level.hop_length, x.shape[-1]
        if final:
            x = F.pad(x, (0, -total % block))
        whole = x.shape[-1] // block * block
        x, state["pending"] = x[..., :whole], x[..., whole:].clone()
        levels, state["level"] = self.level(x, state["level"])
        gains = (levels + 1e-3).repeat_interleave(block, dim=-1)
        x = x / gains
        if final:
            x = x[..., :total]
        if state["gains"] is not None:
            gains = torch.cat((state["gains"], gains), dim=-1)
        return x, gains

    def _restore(self, y: Tensor, gains: Tensor) -> tuple[Tensor, Tensor]:
        """Undo the level on the finished samples; also return the gains of the samples that are not
        finished."""
        if gains.shape[-1] == 1:
            return y * gains, gains
        length = min(y.shape[-1], gains.shape[-1])
        return y[..., :length] * gains[..., :length], gains[..., length:].clone()

    def graph_start(self, batch: int) -> State:
        """Return a state of zeros in the shapes of the steady state; frames outside of the stream are
        masked."""
        c = self.config
        if c.attention_window is None:
            raise ExportError("attention over the whole past remembers more and more: set attention_window")
        if self.hop_length % self.level.hop_length:
            raise ExportError(f"a hop of {self.hop_length} is not made of whole blocks of its running level")
        reference = self.tsfm_conv1.weight
        _, steady = self.step(reference.new_zeros(batch, c.channels_input, self.delay + self.hop_length))
        heads = (batch, c.transformer_heads, c.attention_window - 1, c.transformer_dim // c.transformer_heads)
        counts = torch.zeros(batch, 1, dtype=torch.int64)
        return {
            "hops": counts,
            "samples": counts.clone(),
            "level": reference.new_zeros(batch, 1, 1),
            "running_level": reference.new_zeros(batch, 2),
            "gains": reference.new_zeros(batch, 1, self.delay),
            "encoder": [x.new_zeros(x.shape) for x in steady["encoder"]],
            # The innermost level has no skip that waits.
            "skips": [x.new_zeros(x.shape) for x in steady["skips"][:-1]],
            "attention": [tuple(reference.new_zeros(heads) for _ in "kv") for _ in steady["attention"]],
            "decoder": [x if x is None else x.new_zeros(x.shape) for x in steady["decoder"]],
        }

    def _exported(self, x: Tensor, state: dict[str, Any]) -> tuple[Tensor, State]:
        """Compute `step` of whole hops from the state of `graph_start`; samples after the end are `BEYOND`.

        Frames before a stream's first and after its last are computed like all others. Attention masks them,
        and the decoder does not add them.
        """
        state = dict(state)
        x, inside = without_end(x)
        before, hops = state["hops"], x.shape[-1] // self.hop_length
        state["hops"] = before + hops
        state["samples"] = state["samples"] + inside.sum(-1)
        powers = x.unflatten(-1, (-1, self.level.hop_length)).square().mean(-1)[:, 0]
        running, state["running_level"] = self.level.of_powers(powers, state["running_level"])
        running = running.repeat_interleave(self.level.hop_length, dim=-1)
        gains = torch.where(state["level"] > 0, state["level"], running) + 1e-3
        skips, encoder_states = [], list(state["encoder"])
        x = x / gains
        for n, down in enumerate(self.encoder):
            x, encoder_states[n] = down(x, encoder_states[n])
            skips.append(torch.cat((state["skips"][n], x), dim=-1) if n < len(state["skips"]) else x)
        hidden = pointwise(self.tsfm_conv1, x).transpose(1, 2)
        first = before - self.delay // self.hop_length
        hidden, attention = self.tsfm_encoder(hidden, state["attention"], first)
        y = pointwise(self.tsfm_conv2, hidden.transpose(1, 2))
        frames = self._frames_of(state)
        decoder_states = list(state["decoder"])
        for n, up in enumerate(self.decoder):
            skip = skips[-1 - n]
            length = y.shape[-1]
            y = y + skip[..., :length]
            skips[-1 - n] = skip[..., length:].clone()
            y, decoder_states[n] = up(y, decoder_states[n], present=self._present(n, length, first, frames))
        gains = torch.cat((state["gains"], gains), dim=-1)
        state.update(
            encoder=encoder_states,
            skips=skips[:-1],
            attention=attention,
            decoder=decoder_states,
            gains=gains[..., y.shape[-1] :].clone(),
        )
        return y * gains[..., : y.shape[-1]], state

    def _frames_of(self, state: dict[str, Tensor]) -> Tensor:
        """Return the number of bottleneck frames of each stream (B, 1), `ENDLESS` until it has ended."""
        hop, more = self.hop_length, (state["samples"] - self._span(0)).clamp(min=0)
        frames = torch.div(more + (hop - 1), hop, rounding_mode="trunc") + 1
        return torch.where(state["samples"] < state["hops"] * hop, frames, ENDLESS)

    def _span(self, level: int) -> int:
        """Return how many frames of a level's input (0: samples) the decoder makes of one bottleneck
        frame."""
        c = self.config
        return 1 + (c.kernel_size - 1) * sum(c.stride**n for n in range(c.n_layers - level))

    def _present(self, n: int, length: int, first: Tensor, frames: Tensor) -> Tensor:
        """Return (B, 1, length), 1 for the input frames of the n-th decoder level that belong to the stream,
        else 0.

        Args:
            first: (B, 1) index of the chunk's first bottleneck frame in the stream; negative before the
                stream.
            frames: (B, 1) bottleneck frames of the stream.
        """
        rate = self.config.stride**n
        place = first * rate + torch.arange(length, device=first.device)
        inside = (place >= 0) & (place < (frames - 1) * rate + self._span(self.config.n_layers - n))
        return inside[:, None].to(self.tsfm_conv1.weight)


def _rescale(module: nn.Module) -> None:
    """Divide the weight of every convolution by sqrt(10 * its standard deviation), as the official code
    does."""
    if isinstance(module, (nn.Conv1d, nn.ConvTranspose1d)):
        with torch.no_grad():
            divisor = (10 * module.weight.std()).sqrt()
            module.weight /= divisor
            if module.bias is not None:
                module.bias /= divisor
