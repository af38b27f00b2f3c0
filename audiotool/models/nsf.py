"""Neural source-filter vocoders: a sine and a noise source, shaped by dilated convolutions.

Wang, Takaki, Yamagishi: Neural Source-Filter Waveform Models for Statistical Parametric Speech Synthesis,
TASLP 2020, arXiv:1904.12088. Wang, Yamagishi: Neural Harmonic-plus-Noise Waveform Model with Trainable
Maximum Voice Frequency, SSW 2019, arXiv:1908.10256.

    features ── condition ── frames ── x hop, smoothed ── context ───────┐
    F0 (Hz) ─── harmonics of F0 ── sine source ── harmonic blocks ── low pass ──(+)── waveform
                                  noise source ── noise block ── high pass ──┘

Variants: "hn-sinc-nsf-9" (recurrent condition, cut-off predicted at each sample), "hn-sinc-nsf-10" (the same
with a convolutional condition), "hn-nsf" (recurrent condition, fixed filters chosen by voicing).

Streaming is exact: filter blocks are causal, the condition's convolutions and smoothing look a few frames
ahead, and the sine's phase is a sum over time carried in the state. The published recurrent condition reads
the whole utterance backwards; a stream reads each block of `backward_block` frames backwards from
`backward_lookahead` frames after its end. `process` does the same, so that files and streams agree; `forward`
is the published whole-utterance network, which it equals up to `backward_block + backward_lookahead` frames.

A graph repeats the step of `nsf_graph.py`.

The windowed-sinc filters are causal: their group delay of sinc_order // 2 samples stays in the output, as
published.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiotool.configuration import Depth, Extent, Length, Real, Seed, Width
from audiotool.dsp.mel import MelConfig
from audiotool.dsp.pitch import fundamental_frequency
from audiotool.models.base import BEYOND, State
from audiotool.models.layers import noise, nsf_graph
from audiotool.models.layers.blockwise_lstm import BlockwiseBiLSTM
from audiotool.models.layers.conv import StreamingConv1d
from audiotool.models.layers.harmonic_noise_mix import FixedMix, SincMix
from audiotool.models.layers.smoothing import MovingAverage, SmoothUpsample
from audiotool.models.layers.zero_padded_conv import ZeroPaddedConv1d
from audiotool.models.vocoder import Vocoder

MEL = {
    "sample_rate": 16000,
    "n_fft": 512,
    "hop_length": 80,
    "win_length": 400,
    "n_mels": 80,
    "log": "log10",
}
"""Default features: 80 bands of 25 ms every 5 ms at 16 kHz. The published networks were trained on another
analysis (Blackman window, another filterbank) and read it from files: give those to an imported
checkpoint."""

FILTER_SCALE = 0.1
"""Fixed gain of a block's hidden signal before it is compressed."""


@dataclass(frozen=True)
class NSFConfig:
    """Hyper-parameters; the defaults are the published hn-sinc-nsf-9 (724,265 trained values).

    Args:
        mel: preset or definition of the features; the input has one channel more, F0 in Hz (0 where
            unvoiced), as its last.
        variant: see the module docstring.
        hidden_dim: channels of the filter blocks.
        blstm_dim: channels of the recurrent condition, both directions together.
        kernel_size: kernel size of all convolutions.
        filter_blocks: blocks of the harmonic branch; the noise branch has one.
        convs_per_block: convolutions of a harmonic block, dilations 1, 2, 4…; the noise block has half.
        harmonics: sines of the source, the fundamental included.
        sinc_order: taps of the time-variant filters.
        sine_amplitude: amplitude of each harmonic; the standard deviation of unvoiced noise is a third of it.
        noise_std: standard deviation of the noise added to voiced sines.
        backward_block: frames that share one backward pass of the recurrent condition.
        backward_lookahead: frames after the block from which that pass begins.
        seed: default seed of the noise in `process`.
    """

    mel: str | Mapping[str, Any] = field(default_factory=lambda: dict(MEL))
    variant: Literal["hn-sinc-nsf-9", "hn-sinc-nsf-10", "hn-nsf"] = "hn-sinc-nsf-9"
    hidden_dim: Width = 64
    blstm_dim: Width = 64
    kernel_size: Length = 3
    filter_blocks: Depth = 5
    convs_per_block: Depth = 10
    harmonics: Depth = 8
    sinc_order: Length = 31
    sine_amplitude: Real = 0.1
    noise_std: Real = 0.003
    backward_block: Extent = 50
    backward_lookahead: Extent = 100
    seed: Seed = 0

    def __post_init__(self) -> None:
        if self.sinc_order % 2 == 0:
            raise ValueError(f"sinc_order must be odd, got {self.sinc_order}")
        if self.blstm_dim % 2:
            raise ValueError(f"blstm_dim must be even, for two directions, got {self.blstm_dim}")


@dataclass
class Draws:
    """All random values of an utterance of T samples with H harmonics.

    Args:
        phase: (B, H) uniform in [0, 1): initial phases in cycles; the fundamental's is not used.
        sine: (B, H, T) standard normal: noise of the sines.
        noise: (B, 1, T) standard normal: the noise source.
    """

    phase: Tensor
    sine: Tensor
    noise: Tensor


class Condition(nn.Module):
    """Normalised features (B, D, frames) -> hidden frames (B, hidden_dim, frames) in (-1, 1).

    `lookahead`: frames after a frame that it depends on.
    """

    def __init__(self, config: NSFConfig, inputs: int) -> None:
        super().__init__()
        width = config.hidden_dim
        self.blstm: BlockwiseBiLSTM | None = None
        self.lookahead = 0
        if config.variant == "hn-sinc-nsf-10":
            sizes = [(inputs, width), (width, width), (width, width)]
        else:
            self.blstm = BlockwiseBiLSTM(
                inputs, config.blstm_dim, config.backward_block, config.backward_lookahead
            )
            sizes = [(config.blstm_dim, width)]
            self.lookahead = self.blstm.lookahead
        self.convs = nn.ModuleList(ZeroPaddedConv1d(*size, config.kernel_size) for size in sizes)
        self.lookahead += len(sizes) * (config.kernel_size // 2)

    def forward(
        self, x: Tensor, state: State = None, final: bool = False, whole: bool = False
    ) -> tuple[Tensor, State]:
        recurrent, states = (None, [None] * len(self.convs)) if state is None else (state[0], list(state[1]))
        if self.blstm is not None and whole:
            x = self.blstm.whole(x)
        elif self.blstm is not None:
            x, recurrent = self.blstm(x, recurrent, final)
        for n, conv in enumerate(self.convs):
            x, states[n] = conv(x, states[n], final)
        return x, (recurrent, states)


class Source(nn.Module):
    """F0 frames -> harmonic source and voicing, each (B, 1, samples).

    The phase of harmonic k at sample t is k * sum of F0 / sample_rate up to t, plus its initial phase. F0 is
    constant within a frame, so only the sum at frame borders is accumulated, in float64, modulo one cycle.
    """

    def __init__(self, config: NSFConfig, sample_rate: int, hop: int) -> None:
        super().__init__()
        self.config = config
        self.sample_rate = sample_rate
        self.hop = hop
        self.mix = nn.Linear(config.harmonics, 1)

    def forward(self, f0: Tensor, draws: Draws, phase: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 1, frames) in Hz -> source, voicing (1 or 0), phase (B, 1) in cycles at the end."""
        c = self.config
        step = f0.double() / self.sample_rate
        ends = (step * self.hop).cumsum(-1) + (0 if phase is None else phase[..., None])
        starts = ends - step * self.hop
        inside = torch.arange(1, self.hop + 1, device=f0.device, dtype=torch.float64)
        cycles = (starts[..., None] + step[..., None] * inside).flatten(2)
        order = torch.arange(1, c.harmonics + 1, device=f0.device, dtype=torch.float64)[:, None]
        initial = torch.cat((torch.zeros_like(draws.phase[:, :1]), draws.phase[:, 1:]), dim=1)
        angle = 2 * torch.pi * ((cycles * order + initial[..., None]) % 1)
        voiced = (f0 > 0).to(f0.dtype).repeat_interleave(self.hop, dim=-1)
        std = voiced * c.noise_std + (1 - voiced) * c.sine_amplitude / 3
        sines = angle.to(f0.dtype).sin() * c.sine_amplitude * voiced + std * draws.sine
        source = torch.tanh(self.mix(sines.transpose(1, 2))).transpose(1, 2)
        return source, voiced, ends[..., -1] % 1


class FilterBlock(nn.Module):
    """Dilated causal convolutions over a source (B, 1, T), the context (B, hidden, T) added to each."""

    def __init__(self, hidden_dim: int, kernel_size: int, convs: int) -> None:
        super().__init__()
        self.expand = nn.Linear(1, hidden_dim, bias=False)
        self.convs = nn.ModuleList(
            StreamingConv1d(
                hidden_dim,
                hidden_dim,
                kernel_size,
                dilation=2**n,
                bias=False,
                left_padding=(kernel_size - 1) * 2**n,
            )
            for n in range(convs)
        )
        self.compress = nn.Linear(hidden_dim, hidden_dim // 4, bias=False)
        self.output = nn.Linear(hidden_dim // 4, 1, bias=False)

    def forward(self, source: Tensor, context: Tensor, state: State = None) -> tuple[Tensor, State]:
        states = [None] * len(self.convs) if state is None else list(state)
        hidden = torch.tanh(self.expand.weight @ source)
        for n, conv in enumerate(self.convs):
            y, states[n] = conv(hidden, states[n])
            hidden = hidden + torch.tanh(y) + context
        hidden = torch.tanh(self.compress.weight @ (hidden * FILTER_SCALE))
        return torch.tanh(self.output.weight @ hidden) + source, states


class NSF(Vocoder):
    """Features (B, n_mels + 1, frames), F0 in Hz last -> waveform (B, 1, frames * hop_length)."""

    name = "nsf"
    config_class = NSFConfig
    small: ClassVar[dict[str, Any]] = {
        "hidden_dim": 8,
        "blstm_dim": 8,
        "filter_blocks": 2,
        "convs_per_block": 2,
        "harmonics": 2,
    }
    reference = (
        "Wang et al., Neural Source-Filter Waveform Models for Statistical Parametric Speech Synthesis,"
        " TASLP 2020, arXiv:1904.12088"
    )
    causal = True
    uses_f0 = True
    drain_value = BEYOND
    state_meanings: ClassVar[dict[str, str]] = nsf_graph.MEANINGS

    input_mean: Tensor
    input_std: Tensor

    def __init__(self, config: NSFConfig) -> None:
        super().__init__(config)
        c = config
        self.has_cutoff = c.variant != "hn-nsf"
        mean, std = _speech_statistics(self.mel)
        self.register_buffer("input_mean", mean)
        self.register_buffer("input_std", std)
        self.condition = Condition(c, self.input_channels)
        self.upsample = SmoothUpsample(self.upsampling, replicate=self.has_cutoff)
        self.cutoff_average = MovingAverage(4 * self.upsampling)
        self.source = Source(c, self.sample_rate, self.upsampling)
        self.harmonic_blocks = nn.ModuleList(
            FilterBlock(c.hidden_dim, c.kernel_size, c.convs_per_block) for _ in range(c.filter_blocks)
        )
        self.noise_block = FilterBlock(c.hidden_dim, c.kernel_size, c.convs_per_block // 2)
        self.mix: SincMix | FixedMix = SincMix(c.sinc_order) if self.has_cutoff else FixedMix()
        if self.condition.blstm is not None:
            self.hop_length = self.condition.blstm.block
        frames = self.condition.lookahead + 1 + (2 if self.has_cutoff else 0)
        self.latency = frames * self.upsampling

    @property
    def input_channels(self) -> int:
        return self.mel.n_mels + 1

    @property
    def delay(self) -> int:
        return nsf_graph.Lags.of(self).output * self.upsampling

    def forward(self, features: Tensor, draws: Draws | None = None) -> Tensor:
        """Vocode whole utterances as the published network: (B, frames, n_mels + 1) -> (B, samples).

        Args:
            draws: the random values; None draws them from torch's generator.
        """
        x = features.transpose(1, 2)
        if draws is None:
            batch, length = x.shape[0], x.shape[-1] * self.upsampling
            count = self.config.harmonics
            draws = Draws(
                torch.rand(batch, count, device=x.device),
                torch.randn(batch, count, length, device=x.device),
                torch.randn(batch, 1, length, device=x.device),
            )
        return self._run(x, {**self.start(), "draws": draws}, final=True, whole=True)[0][:, 0]

    def append_f0(self, mel: Tensor, waveform: Tensor) -> Tensor:
        """Append the F0 of the waveform of a mel to the bands.

        Args:
            mel: (B, n_mels, frames), centred.
            waveform: (B, 1, T) at `sample_rate`.
        Returns:
            (B, n_mels + 1, frames).
        """
        f0 = fundamental_frequency(waveform[:, 0], self.sample_rate, self.upsampling)[:, : mel.shape[-1]]
        return torch.cat((mel, F.pad(f0, (0, mel.shape[-1] - f0.shape[-1]))[:, None]), dim=1)

    def training_outputs(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the "estimate" (B, 1, T); F0 is tracked in the target if the input is a mel without it."""
        features = batch["input"]
        if features.shape[1] == self.mel.n_mels:
            features = self.append_f0(features, batch["target"])
        return {"estimate": self(features.transpose(1, 2))[:, None]}

    def start(self, level: Any = None, seed: int | None = None, **conditions: Any) -> State:
        return {
            "seed": self.config.seed if seed is None else seed,
            "draws": None,
            "position": 0,
            "phase": None,
            "f0": None,
            "waiting": None,
            "blocks": [None] * self.config.filter_blocks,
            **dict.fromkeys(("condition", "upsample", "cutoff", "noise", "mix")),
        }

    def graph_start(self, batch: int) -> State:
        return nsf_graph.start(self, batch)

    def step(self, x: Tensor, state: State = None, final: bool = False) -> tuple[Tensor, State]:
        if torch.compiler.is_exporting():
            return nsf_graph.step(self, x, state)
        return self._run(x, dict(self.start() if state is None else state), final)

    def _run(
        self, x: Tensor, state: dict[str, Any], final: bool, whole: bool = False
    ) -> tuple[Tensor, dict[str, Any]]:
        context, cutoff, f0 = self._frames_to_samples(x, state, final, whole)
        if f0.shape[-1] == 0:
            return x.new_zeros(x.shape[0], 1, 0), state
        draws = self.draws(state, x, f0.shape[-1] * self.upsampling)
        y = self.synthesise(f0, context, cutoff, draws, state)
        state["position"] += y.shape[-1]
        return y, state

    def synthesise(
        self,
        f0: Tensor,
        context: Tensor,
        cutoff: Tensor,
        draws: Draws,
        state: dict[str, Any],
        inside: Tensor | float = 1.0,
    ) -> Tensor:
        """Filter the sources of F0 (B, 1, frames) to a waveform (B, 1, samples).

        Args:
            context: (B, hidden, samples).
            cutoff: (B, 1, samples).
            state: state of the stream; its items "phase", "blocks", "noise" and "mix" are replaced.
            inside: (B, 1, samples) factor on both sources.
        """
        y, voiced, state["phase"] = self.source(f0, draws, state["phase"])
        y, state["blocks"] = y * inside, list(state["blocks"])
        for n, block in enumerate(self.harmonic_blocks):
            y, state["blocks"][n] = block(y, context, state["blocks"][n])
        hiss = draws.noise * (self.config.sine_amplitude / 3) * inside
        hiss, state["noise"] = self.noise_block(hiss, context, state["noise"])
        y, state["mix"] = self.mix(y, hiss, cutoff if self.has_cutoff else voiced, state["mix"])
        return y

    def _frames_to_samples(
        self, x: Tensor, state: dict[str, Any], final: bool, whole: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return complete context (B, hidden, samples), cut-off (B, 1, samples) and F0 (B, 1, frames)."""
        features = (x - self.input_mean[:, None]) / self.input_std[:, None]
        hidden, state["condition"] = self.condition(features, state["condition"], final, whole)
        both = torch.cat((features[:, -1:], x[:, -1:]), dim=1)
        both = both if state["f0"] is None else torch.cat((state["f0"], both), dim=-1)
        ready = hidden.shape[-1]
        state["f0"] = both[..., ready:].clone()
        frames = torch.cat((hidden, both[..., :ready]), dim=1)
        smooth, centre, state["upsample"] = self.upsample(frames, state["upsample"], final)
        f0 = centre[:, -1:]
        context, cutoff = self.context_and_cutoff(smooth, f0)
        if not self.has_cutoff:
            return context, cutoff, f0
        cutoff, state["cutoff"] = self.cutoff_average(cutoff, state["cutoff"], final)
        if state["waiting"] is not None:
            context = torch.cat((state["waiting"][0], context), dim=-1)
            f0 = torch.cat((state["waiting"][1], f0), dim=-1)
        samples = cutoff.shape[-1]
        done = samples // self.upsampling
        state["waiting"] = (context[..., samples:].clone(), f0[..., done:].clone())
        return context[..., :samples], cutoff, f0[..., :done]

    def context_and_cutoff(self, smooth: Tensor, f0: Tensor) -> tuple[Tensor, Tensor]:
        """Split smooth signals (B, hidden + 2, samples), the last two of F0; the cut-off is not averaged yet.

        Returns:
            Context (B, hidden, samples) and cut-off (B, 1, samples), (B, 0, samples) in the variant without.
        """
        if not self.has_cutoff:
            return smooth[:, :-2], smooth[:, :0]
        # The last hidden channel predicts the cut-off, and smoothed F0 replaces it in the context.
        context = torch.cat((smooth[:, :-3], smooth[:, -2:-1]), dim=1)
        voiced = (f0 > 0).to(smooth.dtype).repeat_interleave(self.upsampling, dim=-1)
        return context, 0.2 * smooth[:, -3:-2] + 0.4 * voiced + 0.3

    def draws(self, state: dict[str, Any], x: Tensor, length: int) -> Draws:
        """Return the random values of the next `length` samples, from the state's "position" on."""
        if state["draws"] is not None:
            return state["draws"]
        count, seed = self.config.harmonics, state["seed"]
        phase = noise.uniform(seed + 1, count, 0, 1, x.device)[..., 0]
        normal = noise.normal(seed, count + 1, state["position"], length, x.device)
        rows = normal.to(x).expand(x.shape[0], -1, -1)
        return Draws(phase.to(x).expand(x.shape[0], -1), rows[:, :count], rows[:, count:])


def _speech_statistics(mel: MelConfig) -> tuple[Tensor, Tensor]:
    """Return rough means and standard deviations of features of read speech; checkpoints replace them."""
    scale = math.log(10) if mel.log == "natural" else 1.0
    mean, std = torch.full((mel.n_mels + 1,), -3.0 * scale), torch.full((mel.n_mels + 1,), 1.2 * scale)
    mean[-1], std[-1] = 110.0, 117.0  # Hz, unvoiced frames counting as 0
    return mean, std
