"""A streaming transformer that attends to an enrolment of the speaker to keep.

After Zhang, Chadwick, Ramos, Bhattacharya: Cross-Attention is all you need: Real-Time Streaming Transformers
for Personalised Speech Enhancement, 2022, arXiv:2211.04346. Every block of a causal transformer has
cross-attention to a sequence of enrolment vectors. No code or weights were published, and not all sizes are
known, so that outputs may differ from the authors' network.

The enrolment is encoded once, when a stream begins; its keys and values are part of the state. The vectors
have no positional code, so that their order has no influence beyond the encoder's context. Without an
enrolment the blocks attend to one learned vector, and the model is an ordinary denoiser.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiotool.configuration import Depth, Extent, Fraction, Length, Positive, Rate, Seconds, Width
from audiotool.dsp.framing import check_frames
from audiotool.dsp.level import Level
from audiotool.dsp.stft import StreamingISTFT, StreamingSTFT
from audiotool.errors import ExportError
from audiotool.models.base import Model, State
from audiotool.models.layers.attention import SelfAttention, memory_efficient_attention
from audiotool.models.layers.levelled_spectrum import FLOOR, LevelledSpectrum, compressed


@dataclass(frozen=True)
class PersonalisedTransformerConfig:
    """Hyper-parameters.

    Args:
        sample_rate: Hz.
        n_fft, hop_length: samples; 20 ms windows every 10 ms.
        dim, heads, blocks, inner_dim: sizes of the transformer.
        window: number of frames that a frame attends to, itself included; 200 are 2 s.
        pooling: number of enrolment frames that are averaged to one vector.
        compression: exponent of the magnitudes in the network's input.
        level_seconds: time constant of the running level.
        absent_probability: share of training examples whose enrolment is withheld.
    """

    sample_rate: Rate = 16000
    n_fft: Length = 320
    hop_length: Length = 160
    dim: Width = 256
    heads: Depth = 8
    blocks: Depth = 4
    inner_dim: Width = 1024
    window: Extent = 200
    pooling: Depth = 4
    compression: Positive = 0.3
    level_seconds: Seconds = 3.0
    absent_probability: Fraction = 0.1

    def __post_init__(self) -> None:
        check_frames(self.n_fft, self.hop_length)
        if self.dim % self.heads:
            raise ValueError(f"heads {self.heads} must divide dim {self.dim}")


class CrossAttention(nn.Module):
    """Cross-attention from mixture frames (B, T, D) to the enrolment, whose keys and values are computed
    once."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.output = nn.Linear(dim, dim)
        self.gate = nn.Linear(dim, dim)

    def keys_and_values(self, enrolment: Tensor) -> tuple[Tensor, Tensor]:
        """Project enrolment vectors (B, M, D) to keys and values (B, heads, M, D / heads)."""
        key, value = self.key_value(enrolment).unflatten(-1, (2 * self.heads, -1)).transpose(1, 2).chunk(2, 1)
        return key, value

    def forward(self, x: Tensor, memory: tuple[Tensor, Tensor]) -> Tensor:
        """(B, T, D) -> (B, T, D), gated by the frame."""
        query = self.query(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        key, value = (m.expand(x.shape[0], -1, -1, -1) for m in memory)
        answer = memory_efficient_attention(query, key, value).transpose(1, 2).flatten(2)
        return self.output(answer) * self.gate(x).sigmoid()


class PersonalisedBlock(nn.Module):
    """Self-attention over the past, cross-attention to the enrolment, feed-forward; pre-norm (B, T, D)."""

    def __init__(self, config: PersonalisedTransformerConfig) -> None:
        super().__init__()
        c = config
        self.norms = nn.ModuleList(nn.LayerNorm(c.dim) for _ in range(3))
        self.past = SelfAttention(c.dim, c.heads, "windowed", c.window, causal=True)
        self.speaker = CrossAttention(c.dim, c.heads)
        self.widen = nn.Linear(c.dim, c.inner_dim)
        self.narrow = nn.Linear(c.inner_dim, c.dim)

    def forward(self, x: Tensor, memory: tuple[Tensor, Tensor], state: State) -> tuple[Tensor, State]:
        attended, state = self.past(self.norms[0](x), state)
        x = x + attended
        x = x + self.speaker(self.norms[1](x), memory)
        return x + self.narrow(F.gelu(self.widen(self.norms[2](x)))), state


class PersonalisedTransformer(Model):
    """Mixture (B, 1, T) to the enrolled speaker (B, 1, T)."""

    name = "personalised-transformer"
    takes = ("waveform", "enrolment")
    config_class = PersonalisedTransformerConfig
    small: ClassVar[dict[str, Any]] = {"dim": 16, "heads": 2, "blocks": 1, "inner_dim": 32}
    reference = "after Zhang et al., Cross-Attention is all you need, 2022, arXiv:2211.04346"

    def __init__(self, config: PersonalisedTransformerConfig) -> None:
        super().__init__(config)
        c = config
        self.sample_rate = c.sample_rate
        self.hop_length = c.hop_length
        self.latency = c.n_fft - 1
        bins = c.n_fft // 2 + 1
        self.analysis = LevelledSpectrum(c.n_fft, c.hop_length, c.level_seconds, c.sample_rate)
        self.synthesis = StreamingISTFT(c.n_fft, c.hop_length, window="sqrt_hann")
        self.enrolment_analysis = StreamingSTFT(c.n_fft, c.hop_length, window="sqrt_hann", padding="none")
        self.embed = nn.Linear(2 * bins, c.dim)
        self.blocks = nn.ModuleList(PersonalisedBlock(c) for _ in range(c.blocks))
        self.mask_norm = nn.LayerNorm(c.dim)
        self.mask = nn.Linear(c.dim, 2 * bins)
        self.enrolment_embed = nn.Conv1d(2 * bins, c.dim, 3, padding=1)
        self.enrolment_mix = nn.Conv1d(c.dim, c.dim, 3, padding=1)
        self.enrolment_norm = nn.LayerNorm(c.dim)
        self.anybody = nn.Parameter(torch.randn(1, 1, c.dim) * 0.02)

    def training_outputs(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the outputs for a batch.

        In training a share `absent_probability` of items has no enrolment, so that the model learns to
        denoise without one.
        """
        speaker = self.encode_enrolment(batch["enrolment"])
        if self.training:
            absent = torch.rand(len(speaker)) < self.config.absent_probability
            # Attention to equal vectors is attention to one.
            speaker = torch.where(absent.to(speaker.device)[:, None, None], self.anybody, speaker)
        return {"estimate": self.process(batch["input"], speaker=speaker)}

    def start(
        self,
        level: Level[Tensor] | None = None,
        enrolment: Tensor | None = None,
        speaker: Tensor | None = None,
        **conditions: Any,
    ) -> State:
        """Begin a stream.

        Args:
            enrolment: (B or 1, 1, T), seconds of speech of the speaker to keep, at the model's sample rate;
                None keeps all speakers.
            speaker: (B or 1, M, dim), an enrolment that is encoded already.
        """
        if enrolment is not None:
            speaker = self.encode_enrolment(enrolment)
        vectors = self.anybody if speaker is None else speaker
        return {
            "memory": [block.speaker.keys_and_values(vectors) for block in self.blocks],  # type: ignore[operator,union-attr]
            "analysis": None,
            "blocks": [None] * len(self.blocks),
            "synthesis": None,
        }

    def graph_start(self, batch: int) -> State:
        raise ExportError(
            "an enrolment of any length is part of its state: the states of a graph have fixed shapes"
        )

    def enrol(self, recording: Tensor) -> dict[str, Any]:
        with torch.no_grad():
            return {"speaker": self.encode_enrolment(recording)}

    def encode_enrolment(self, enrolment: Tensor) -> Tensor:
        """Encode (B, 1, T) at any level to vectors (B, M, dim), M = frames / pooling, at least 1."""
        shortest = self.config.n_fft + (self.config.pooling - 1) * self.hop_length
        waveform = F.pad(enrolment[:, 0], (0, max(0, shortest - enrolment.shape[-1])))
        level = waveform.square().mean(-1).sqrt()[:, None, None] + FLOOR
        spec, _ = self.enrolment_analysis(waveform)
        x = F.gelu(self.enrolment_embed(compressed(spec / level, self.config.compression)))
        pooled = F.avg_pool1d(x + F.gelu(self.enrolment_mix(x)), self.config.pooling)
        return self.enrolment_norm(pooled.transpose(1, 2))

    def step(self, x: Tensor, state: State = None, final: bool = False) -> tuple[Tensor, State]:
        state = dict(self.start() if state is None else state)
        (spec, levels), state["analysis"] = self.analysis(x[:, 0], state["analysis"], final)
        if spec.shape[-1]:
            h = self.embed(compressed(spec / levels, self.config.compression).transpose(1, 2))
            states = []
            for block, memory, block_state in zip(self.blocks, state["memory"], state["blocks"], strict=True):
                h, block_state = block(h, memory, block_state)
                states.append(block_state)
            state["blocks"] = states
            real, imaginary = self.mask(self.mask_norm(h)).transpose(1, 2).chunk(2, dim=1)
            spec = spec * torch.complex(real + 0.5, imaginary)
        y, state["synthesis"] = self.synthesis(spec, state["synthesis"], final)
        return y[:, None], state
