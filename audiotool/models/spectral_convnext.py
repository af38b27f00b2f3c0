"""A causal ConvNeXt over STFT frames with one GRU, for every spectral task.

Frames of the compressed complex spectrum go through causal ConvNeXt blocks (Liu et al., A ConvNet for the
2020s, CVPR 2022, arXiv:2201.03545, in the one-dimensional form of Vocos, Siuzdak, ICLR 2024,
arXiv:2306.00814) with a GRU in the middle for long memory. Two heads:

    "mask"      a complex ratio mask for each stem (denoise, separate); below `filter_below_hz` it may be
                a deep filter of several frames
    "extend"    magnitude and phase of the bins above `extend_from_hz`, added to the unchanged input
                (super-resolve). Phases are predicted relative to those of the band below, folded about a
                quarter of the sample rate, which are consistent from frame to frame

The spectrum is divided by a running level, so that the output does not depend on the input's level, in files
and live streams alike. Latency is that of the STFT: n_fft - 1 samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiotool.configuration import Depth, Hertz, Length, Positive, Rate, Real, Seconds, Stems, Width
from audiotool.dsp.framing import check_frames
from audiotool.dsp.level import Level
from audiotool.dsp.stft import StreamingISTFT
from audiotool.models.base import Model, State
from audiotool.models.layers.bypass import add_input
from audiotool.models.layers.conv import StreamingConv1d
from audiotool.models.layers.deep_filter import DeepFilter
from audiotool.models.layers.levelled_spectrum import LevelledSpectrum, compressed
from audiotool.models.layers.recurrent import StreamingGRU


@dataclass(frozen=True)
class SpectralConvNeXtConfig:
    """Hyper-parameters.

    Args:
        sample_rate: Hz.
        n_fft, hop_length: samples; the window is the square root of a Hann.
        stems: names of the outputs.
        head: "mask" or "extend", see the module docstring.
        filter_taps: frames that a mask below `filter_below_hz` spans; 1 is a plain mask.
        filter_below_hz: highest frequency of deep filtering.
        extend_from_hz: lowest frequency at which the "extend" head adds content.
        restraint_db: attenuation of the added band outside training, because wrong content is more audible
            than missing content.
        dim: features of a frame.
        blocks: ConvNeXt blocks; the GRU stands after half of them.
        kernel_size: frames in the kernel of a block's depthwise convolution.
        expansion: width of a block's inner layer, in multiples of dim.
        compression: exponent of the magnitudes in the network's input.
        level_seconds: time constant of the running level.
    """

    sample_rate: Rate = 16000
    n_fft: Length = 512
    hop_length: Length = 256
    stems: Stems = ("speech",)
    head: Literal["mask", "extend"] = "mask"
    filter_taps: Length = 1
    filter_below_hz: Hertz = 5000.0
    extend_from_hz: Hertz = 3000.0
    restraint_db: Real = 0.0
    dim: Width = 256
    blocks: Depth = 6
    kernel_size: Length = 7
    expansion: Depth = 3
    compression: Positive = 0.3
    level_seconds: Seconds = 3.0

    def __post_init__(self) -> None:
        check_frames(self.n_fft, self.hop_length)


class ConvNeXtBlock(nn.Module):
    """Depthwise causal convolution, LayerNorm and a two-layer perceptron, with a residual (B, D, T)."""

    def __init__(self, dim: int, kernel_size: int, expansion: int, scale: float) -> None:
        super().__init__()
        self.depthwise = StreamingConv1d(dim, dim, kernel_size, groups=dim, left_padding=kernel_size - 1)
        self.norm = nn.LayerNorm(dim)
        self.widen = nn.Linear(dim, expansion * dim)
        self.narrow = nn.Linear(expansion * dim, dim)
        self.scale = nn.Parameter(torch.full((dim,), scale))

    def forward(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        y, state = self.depthwise(x, state)
        y = self.narrow(F.relu(self.widen(self.norm(y.transpose(1, 2)))))
        return x + (self.scale * y).transpose(1, 2), state


class SpectralConvNeXt(Model):
    """Waveform (B, 1, T) to stems (B, S, T)."""

    name = "spectral-convnext"
    gives = ("speech", "stems", "wide-band")
    config_class = SpectralConvNeXtConfig
    small: ClassVar[dict[str, Any]] = {"dim": 16, "blocks": 1}
    state_meanings: ClassVar[dict[str, str]] = {
        "bandwidth_hz": "where the input's own content ends, in Hz: nothing is added below; 0 if not known",
        "analysis.0": "samples that the next frame begins with",
        "analysis.1": "running level: mean power, and the weight it has gathered",
        "blocks": "features that a block's next convolution needs",
        "gru": "the memory of the GRU",
        "filter": "the last frames' lowest bins, real and imaginary",
        "synthesis.0": "sums that the next frame still adds to",
        "waiting": "input that is added when the network's answer to it has come",
    }
    reference = "ConvNeXt blocks after Liu et al., CVPR 2022, arXiv:2201.03545; arrangement our own"

    def __init__(self, config: SpectralConvNeXtConfig) -> None:
        super().__init__(config)
        c = config
        self.sample_rate = c.sample_rate
        self.hop_length = c.hop_length
        self.latency = c.n_fft - 1
        self.stems = c.stems
        self.extends_from_hz = c.extend_from_hz if c.head == "extend" else None
        if c.head == "extend":
            self.rounding = 1e-4  # phases come from the band below, which may be quiet
        bins = c.n_fft // 2 + 1
        self.first_bin = -(-int(c.extend_from_hz * c.n_fft) // c.sample_rate) if c.head == "extend" else 0
        filtered = int(c.filter_below_hz * c.n_fft / c.sample_rate) if c.filter_taps > 1 else 0
        self.filtered_bins = min(filtered, bins)
        outputs = bins - self.first_bin
        if c.head == "mask":
            outputs = len(c.stems) * (bins + (c.filter_taps - 1) * self.filtered_bins)

        self.analysis = LevelledSpectrum(c.n_fft, c.hop_length, c.level_seconds, c.sample_rate)
        self.synthesis = StreamingISTFT(c.n_fft, c.hop_length, window="sqrt_hann")
        self.embed = nn.Linear(2 * bins, c.dim)
        self.embed_norm = nn.LayerNorm(c.dim)
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(c.dim, c.kernel_size, c.expansion, 1 / c.blocks) for _ in range(c.blocks)
        )
        self.gru = StreamingGRU(c.dim, c.dim)
        self.head_norm = nn.LayerNorm(c.dim)
        self.head = nn.Linear(c.dim, 2 * outputs)
        self.filter = DeepFilter(c.filter_taps)

    def start(
        self,
        level: Level[Tensor] | None = None,
        bandwidth_hz: Tensor | float | None = None,
        **conditions: Any,
    ) -> State:
        """Begin a stream.

        Args:
            bandwidth_hz: for the "extend" head: highest frequency of the input's content, below which nothing
                is added; a number, or (B, 1, 1).
        """
        return {
            "bandwidth_hz": bandwidth_hz,
            "analysis": None,
            "blocks": [None] * len(self.blocks),
            "gru": None,
            "filter": None,
            "synthesis": None,
            "waiting": None,
        }

    def unknown_conditions(self) -> dict[str, Any]:
        return {"bandwidth_hz": torch.zeros(1, 1, 1)} if self.config.head == "extend" else {}

    def step(self, x: Tensor, state: State = None, final: bool = False) -> tuple[Tensor, State]:
        state = dict(self.start() if state is None else state)
        (spec, levels), state["analysis"] = self.analysis(x[:, 0], state["analysis"], final)
        predicted = self._network(spec / levels, state)
        spec = self._render(predicted, spec, levels, state)
        y, state["synthesis"] = self.synthesis(spec, state["synthesis"], final)
        if self.config.head == "extend":
            y, state["waiting"] = add_input(y[:, None], x, state["waiting"], final)
        return y, state

    def _network(self, spec: Tensor, state: dict[str, Any]) -> Tensor:
        """Return the predictions (B, T, outputs) for a level-normalised spec (B, F, T)."""
        features = compressed(spec, self.config.compression).transpose(1, 2)
        h = self.embed_norm(self.embed(features)).transpose(1, 2)
        states = []
        for n, block in enumerate(self.blocks):
            if n == len(self.blocks) // 2:
                recurrent, state["gru"] = self.gru(h, state["gru"])
                h = h + recurrent
            h, block_state = block(h, state["blocks"][n])
            states.append(block_state)
        state["blocks"] = states
        return self.head(self.head_norm(h.transpose(1, 2)))

    def _render(self, predicted: Tensor, spec: Tensor, levels: Tensor, state: dict[str, Any]) -> Tensor:
        """Return the output specs of predictions and spec (B, F, T): (B, F, T), or (B, S, F, T) with
        masks."""
        first, second = predicted.transpose(1, 2).chunk(2, dim=1)
        if self.config.head == "mask":
            return self._mask(torch.complex(first, second), spec, state)
        if not self.training:
            first = first - math.log(10) / 20 * self.config.restraint_db
        # Magnitudes of speech stay below 20 times the running level.
        magnitude = levels * first.clamp(max=3.0).exp() * self.config.n_fft**0.5
        edge = state["bandwidth_hz"]
        if isinstance(edge, Tensor) and edge.shape[0] != spec.shape[0]:
            # A value for each row: the rows of a graph may be channels of different bandwidths.
            state["bandwidth_hz"] = edge = edge.repeat(spec.shape[0], 1, 1)
        if edge is not None:
            hz = self.config.sample_rate / self.config.n_fft
            bins = torch.arange(self.first_bin, spec.shape[1], device=spec.device)[:, None]
            magnitude = magnitude * (bins * hz >= edge)
        # x[n] (-1)^n has the spec of x, mirrored and conjugated: n_fft and hop_length are even.
        folded = spec[:, : spec.shape[1] - self.first_bin].flip(1).conj()
        folded = folded / (folded.abs() + 1e-8)
        return F.pad(folded * torch.polar(magnitude, second), (0, 0, self.first_bin, 0))

    def _mask(self, predicted: Tensor, spec: Tensor, state: dict[str, Any]) -> Tensor:
        """Mask a spec by the predictions (B, S * (F + (taps - 1) * filtered), T): (B, S, F, T)."""
        bins, low = spec.shape[1], self.filtered_bins
        mask, past = predicted.unflatten(1, (len(self.stems), -1)).split(
            (bins, (self.config.filter_taps - 1) * low), dim=2
        )
        # An untrained network halves its input.
        mask = mask + 0.5
        if not low:
            return mask * spec[:, None]
        taps = torch.cat((mask[:, :, None, :low], past.unflatten(2, (-1, low))), dim=2)
        filtered, state["filter"] = self.filter(
            spec[:, :low].permute(2, 0, 1), taps.permute(4, 0, 1, 2, 3).flatten(0, 1), state["filter"]
        )
        plain = mask[:, :, low:] * spec[:, None, low:]
        filtered = filtered.unflatten(0, (-1, spec.shape[0])).permute(1, 2, 3, 0)
        return torch.cat((filtered, plain), dim=2)
