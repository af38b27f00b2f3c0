"""Bandwidth extension by source and filter: GRUs predict the powers of the missing bands, a source fills
them.

    x ─┬─ spec ── powers of the bands below the edge ── GRUs ─┬─ powers of the bands above ─┐
       │                                                      └─ share of harmonics h       │
       ├─ |x| ── spec, whitened ── sqrt(h) ─────┬─────────────────────────────────────── + ─×─ above ─┐
       │         spec of noise ──── sqrt(1 - h) ┘                                            the edge │
       └────────────────────────────────────────────────────────────────────────────────────────── + ─┴─ y

The edge is the highest frequency of the recording's content, any frequency from `extend_from_hz` on. It is
the condition `bandwidth_hz`, and the network's input is the bands below it. Without the condition
`EdgeTracker` estimates it from the mean spectrum so far. Below the edge the input passes unchanged. What is
analysed and rectified is x without its constant offset, which passes, too.

The rectified waveform has harmonics of the pitch, and noise, at all frequencies. Divided by its spectral
envelope it is a source with a flat spectrum (Makhoul and Berouti, High-frequency regeneration in speech
coding systems, ICASSP 1979). Speech is noisier in higher bands, so the source is mixed with noise. Its share
h is trained to be the correlation of the source's magnitudes with the target's.

Latency is that of the STFT: n_fft - 1 samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiotool.configuration import Depth, Hertz, Length, Rate, Real, Seconds, Seed, Width
from audiotool.dsp.bands import interpolation, membership
from audiotool.dsp.bandwidth import FULL_BAND, GAP_HZ, LINE_HZ, LOWEST_HZ
from audiotool.dsp.erb import erb_widths
from audiotool.dsp.framing import check_frames
from audiotool.dsp.level import Level
from audiotool.dsp.stft import StreamingISTFT, StreamingSTFT, power_spectrum
from audiotool.models.base import Model, State
from audiotool.models.layers import noise
from audiotool.models.layers.bypass import add_input
from audiotool.models.layers.level import RunningLevel
from audiotool.models.layers.levelled_spectrum import LevelledSpectrum
from audiotool.models.layers.offset_removal import OffsetRemoval
from audiotool.models.layers.recurrent import GRU

QUIETEST = 1e-9
"""Added to powers before their logarithm; 1 is a bin of white noise as loud as the running level."""

LOUDEST = 3.0
"""Natural logarithm of the greatest power of a band, beyond that of speech."""

FLOOR = 1e-6
"""Added to every level (-120 dB of full scale). With -80 dB the added band of quiet speech was too loud."""

SILENT = 1e-10
"""Power of an input frame (-100 dB of full scale) at which that of the added band is halved; silence gets
none."""

GROUP = 4
"""Number of bins in a group, the resolution of the edge."""

EDGE_RANGE = 1e-6
"""Power relative to the loudest group (-60 dB) below which a group holds no content."""

ROUNDS = 1 << 20
"""Frames after which the noise repeats, below the greatest integer that a float32 can count to."""


@dataclass(frozen=True)
class BandwidthExtensionConfig:
    """Hyper-parameters.

    Args:
        sample_rate: Hz.
        n_fft, hop_length: samples; the window is the square root of a Hann.
        extend_from_hz: lowest edge; below it nothing is added.
        bands: number of bands of equal width on the ERB scale, each of at least 2 bins.
        dim: features a frame.
        layers: GRUs.
        gain_db: gain of the predicted bands outside training.
        level_seconds: time constant of the running level.
        edge_seconds: time constant of the mean spectrum from which the edge is estimated.
        seed: seed of the noise.
    """

    sample_rate: Rate = 48000
    n_fft: Length = 1024
    hop_length: Length = 512
    extend_from_hz: Hertz = 2000.0
    bands: Width = 48
    dim: Width = 128
    layers: Depth = 2
    gain_db: Real = 0.0
    level_seconds: Seconds = 3.0
    edge_seconds: Seconds = 10.0
    seed: Seed = 0

    def __post_init__(self) -> None:
        check_frames(self.n_fft, self.hop_length)
        if self.n_fft % (2 * GROUP):
            raise ValueError(f"n_fft is a multiple of {2 * GROUP}, found {self.n_fft}")
        erb_widths(self.bands, self.n_fft, self.sample_rate, 2)


class EdgeTracker(nn.Module):
    """Spec (B, T, F) -> bandwidth so far (B, T, 1) in Hz, half the sample rate until the first sound, and for
    content beyond `FULL_BAND` of that.

    The content ends at the highest group of bins within 60 dB of the loudest one in an exponentially weighted
    mean of the power spectrum, but for lines (`dsp.bandwidth.LINE_HZ`). The loudest one reaches above
    `LOWEST_HZ`, below which hum may be louder than speech. Each frame enters with the least power of the last
    three frames in each group, because clicks and abrupt onsets fill the spectrum of at most two frames. The
    frames are weighted by one more Hann window, a convolution over three bins, so that loud groups do not
    leak into others.

    State: (B, groups, 2), the state of `RunningLevel` of each group, and (B, 2, groups), powers of two
        frames.
    """

    upper_edges: Tensor

    def __init__(self, c: BandwidthExtensionConfig) -> None:
        super().__init__()
        groups = c.n_fft // 2 // GROUP
        width = GROUP * c.sample_rate / c.n_fft
        self.register_buffer("upper_edges", torch.arange(1, groups + 1) * width, persistent=False)
        self.near, self.far = math.ceil(LINE_HZ / width), math.ceil((LINE_HZ + GAP_HZ) / width)
        self.level = RunningLevel(c.hop_length, c.edge_seconds * c.sample_rate / c.hop_length)

    def forward(self, spec: Tensor, state: State = None) -> tuple[Tensor, State]:
        frames = spec.shape[1]
        power = _narrowed(spec.real).square() + _narrowed(spec.imag).square()
        grouped = power.unflatten(-1, (-1, GROUP)).mean(-1)
        means, last = state or (None, torch.zeros_like(grouped[:, :1]).expand(-1, 2, -1))
        recent = torch.cat((last, grouped), dim=1)
        weakest = torch.minimum(torch.minimum(recent[:, :frames], recent[:, 1 : frames + 1]), grouped)
        if means is not None:
            means = means.flatten(0, 1)
        levels, means = self.level.of_powers(weakest.transpose(1, 2).flatten(0, 1), means)
        mean = levels[:, 0].unflatten(0, (spec.shape[0], -1)).square().transpose(1, 2)
        loudest = (mean * (self.upper_edges > LOWEST_HZ)).amax(-1, keepdim=True)
        held = mean > EDGE_RANGE * loudest
        end = self.upper_edges[-1]
        edges = end
        # Of lines alone the highest counts.
        for counts in (held, held & self._above_a_neighbour(held)):
            highest = (counts * self.upper_edges).amax(-1, keepdim=True)
            edges = torch.where(highest > 0, highest, edges)
        edges = torch.where(edges > FULL_BAND * end, end, edges)
        return edges, (means.unflatten(0, (spec.shape[0], -1)), recent[:, frames:].clone())

    def _above_a_neighbour(self, held: Tensor) -> Tensor:
        """Whether there is content from LINE_HZ to LINE_HZ + GAP_HZ below each group (B, T, groups)."""
        groups = held.shape[-1]
        sums = F.pad(held.to(self.upper_edges.dtype), (self.far + 1, 0)).cumsum(-1)
        return sums[..., self.far + 1 - self.near :][..., :groups] > sums[..., :groups]


class BandwidthExtension(Model):
    """Waveform (B, 1, T) to a waveform of wider band (B, 1, T)."""

    name = "bandwidth-extension"
    gives: ClassVar[tuple[str, ...]] = ("wide-band",)
    config_class = BandwidthExtensionConfig
    config: BandwidthExtensionConfig
    small: ClassVar[dict[str, Any]] = {"dim": 16, "layers": 1, "bands": 24}
    reference = "Source and filter after Makhoul and Berouti, ICASSP 1979; arrangement our own"
    state_meanings: ClassVar[dict[str, str]] = {
        "bandwidth_hz": "where the input's own content ends, in Hz: nothing is added below; 0 if not known",
        "offset": "mean of what was heard, weighted, and the weight",
        "analysis.0": "samples that the next frame begins with",
        "analysis.1": "running level: mean power, and the weight it has gathered",
        "rectified": "magnitudes of samples that the next frame begins with",
        "edge.0": "mean power of groups of bins, and the weight it has gathered",
        "edge.1": "powers of groups of bins in the last two frames",
        "layers": "the memory of a GRU",
        "position": "frames so far: where the noise is drawn from",
        "synthesis.0": "sums that the next frame still adds to",
        "waiting": "input that is added when the network's answer to it has come",
    }

    bin_hz: Tensor
    members: Tensor
    spread: Tensor

    def __init__(self, config: BandwidthExtensionConfig) -> None:
        super().__init__(config)
        c = config
        self.sample_rate = c.sample_rate
        self.hop_length = c.hop_length
        self.latency = c.n_fft - 1
        self.extends_from_hz = c.extend_from_hz
        self.rounding = 1e-4  # the source is divided by its power, which amplifies rounding in quiet bands
        widths = erb_widths(c.bands, c.n_fft, c.sample_rate, 2)
        hz = torch.arange(c.n_fft // 2 + 1) * (c.sample_rate / c.n_fft)
        self.register_buffer("bin_hz", hz, persistent=False)
        self.register_buffer("members", membership(widths), persistent=False)
        self.register_buffer("spread", interpolation(widths), persistent=False)
        self.scale = c.n_fft / 2  # sum of the squared window: the power of a bin of white noise of power 1

        self.offset = OffsetRemoval(c.n_fft, c.hop_length, c.sample_rate)
        self.analysis = LevelledSpectrum(c.n_fft, c.hop_length, c.level_seconds, c.sample_rate, FLOOR)
        self.rectified = StreamingSTFT(c.n_fft, c.hop_length, window="sqrt_hann")
        self.edge = EdgeTracker(c)
        self.synthesis = StreamingISTFT(c.n_fft, c.hop_length, window="sqrt_hann")
        self.embed = nn.Linear(3 * c.bands, c.dim)
        self.norms = nn.ModuleList(nn.LayerNorm(c.dim) for _ in range(c.layers + 1))
        self.layers = nn.ModuleList(GRU(c.dim, c.dim, batch_first=True) for _ in range(c.layers))
        self.head = nn.Linear(c.dim, 2 * c.bands)

    def start(
        self,
        level: Level[Tensor] | None = None,
        bandwidth_hz: Tensor | float | None = None,
        **conditions: Any,
    ) -> State:
        """Begin a stream.

        Args:
            bandwidth_hz: highest frequency of the input's content, below which nothing is added: a number, or
                (B, 1, 1). None, or 0 in a tensor, estimates it while the stream runs.
        """
        return {
            "bandwidth_hz": bandwidth_hz,
            "offset": None,
            "analysis": None,
            "rectified": None,
            "edge": None,
            "layers": [None] * len(self.layers),
            "position": None,
            "synthesis": None,
            "waiting": None,
        }

    def unknown_conditions(self) -> dict[str, Any]:
        return {"bandwidth_hz": torch.zeros(1, 1, 1)}

    def step(self, x: Tensor, state: State = None, final: bool = False) -> tuple[Tensor, State]:
        state = dict(self.start() if state is None else state)
        spec, source, levels = self._analyse(x, state, final)
        if spec.shape[1]:
            power = power_spectrum(spec)
            above = self._above(spec, state)
            envelope, harmonic = self._predict(power / (levels.square() * self.scale), above, state)
            spec = self._render(source, envelope, harmonic, levels, state) * (above * self._sound(power))
        y, state["synthesis"] = self.synthesis(spec.transpose(1, 2), state["synthesis"], final)
        y, state["waiting"] = add_input(y[:, None], x, state["waiting"], final)
        return y, state

    def training_outputs(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the estimate (B, 1, T), and the inputs of `BandwidthExtensionLoss`, all (B, frames, bands).

        Args:
            batch: "input", "target" (B, 1, T); "bandwidth_hz" and "target_bandwidth_hz" (B, 1, 1), the
                highest frequencies of their contents.
        Returns:
            "estimate"; "power" and "target_power", relative to the running level's; "harmonic" and
            "target_harmonic", the share of the source, 0 to 1; "weight", the share of a band's bins that lie
            between the edge and the target's bandwidth, 0 to 1.
        """
        x = batch["input"]
        state = self.start()
        spec, source, levels = self._analyse(x, state, True)
        target, _ = self.rectified(batch["target"][:, 0], None, True)
        unit = levels.square() * self.scale
        above = self._bins_above(batch["bandwidth_hz"])
        power = power_spectrum(spec)
        envelope, harmonic = self._predict(power / unit, above, state)
        band = self._render(source, envelope, harmonic, levels, state) * (above * self._sound(power))
        added, _ = self.synthesis(band.transpose(1, 2), None, True)
        valid = above * (self.bin_hz < batch["target_bandwidth_hz"])
        count = valid @ self.members
        target_power = power_spectrum(target.transpose(1, 2))
        return {
            "estimate": add_input(added[:, None], x, None, True)[0],
            "power": (envelope.exp() * valid) @ self.members / count.clamp(min=1),
            "target_power": (target_power / unit * valid) @ self.members / count.clamp(min=1),
            "harmonic": harmonic,
            "target_harmonic": self._correlation(power_spectrum(source).sqrt(), target_power.sqrt(), valid),
            "weight": (count / self.members.sum(0)).expand_as(harmonic),
        }

    def _analyse(self, x: Tensor, state: dict[str, Any], final: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Return the specs of the waveform (B, 1, T) and of the rectified one (B, T, F), and levels (B, T,
        1)."""
        centred, state["offset"] = self.offset(x[:, 0], state["offset"], final)
        (spec, levels), state["analysis"] = self.analysis(centred, state["analysis"])
        source, state["rectified"] = self.rectified(centred.abs(), state["rectified"])
        return spec.transpose(1, 2), source.transpose(1, 2), levels.transpose(1, 2)

    def _above(self, spec: Tensor, state: dict[str, Any]) -> Tensor:
        """Return (B, T or 1, F), 1 for bins above the edge."""
        edge = state["bandwidth_hz"]
        if isinstance(edge, Tensor) and edge.shape[0] != spec.shape[0]:
            # A value for each row: the rows of a graph may be channels of different bandwidths.
            state["bandwidth_hz"] = edge = edge.repeat(spec.shape[0], 1, 1)
        if edge is None or isinstance(edge, Tensor):
            found, state["edge"] = self.edge(spec, state["edge"])
            edge = found if edge is None else torch.where(edge > 0, edge, found)
        else:
            edge = self.bin_hz.new_full((1, 1, 1), edge)
        return self._bins_above(edge)

    def _bins_above(self, edge: Tensor) -> Tensor:
        return (self.bin_hz > edge.clamp(min=self.config.extend_from_hz)).to(self.bin_hz.dtype)

    def _predict(self, power: Tensor, above: Tensor, state: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Predict the natural logarithms of powers (B, T, F) and the harmonic shares (B, T, bands) from
        powers."""
        below = (1 - above).expand_as(power)
        count = below @ self.members
        known = (count > 0).to(power.dtype)
        level = ((power * below) @ self.members / count.clamp(min=1) + QUIETEST).log()
        flat = ((power.sqrt() * below) @ self.members / count.clamp(min=1)).square()
        peaked = level - (flat + QUIETEST).log()
        features = (known * (0.15 * level + 1), known * peaked, count / self.members.sum(0))
        h = self.embed(torch.cat(features, dim=-1))
        memories = list(state["layers"])
        for n, (norm, layer) in enumerate(zip(self.norms, self.layers, strict=False)):
            hidden = None if memories[n] is None else memories[n].transpose(0, 1).contiguous()
            recurrent, hidden = layer(norm(h), hidden)
            memories[n] = hidden.transpose(0, 1)
            h = h + recurrent
        state["layers"] = memories
        envelope, harmonic = self.head(self.norms[-1](h)).chunk(2, dim=-1)
        # An untrained network adds little.
        envelope = ((3 * envelope - 8) @ self.spread).clamp(max=LOUDEST)
        return envelope, harmonic.sigmoid()

    def _render(
        self, source: Tensor, envelope: Tensor, harmonic: Tensor, levels: Tensor, state: dict[str, Any]
    ) -> Tensor:
        """Return the whitened source, mixed with noise, at the predicted powers: spec (B, T, F)."""
        power = power_spectrum(source) @ self.members / self.members.sum(0) / self.scale
        whitening = (-0.5 * ((power + QUIETEST * SILENT).log() @ self.spread)).exp()
        frames = source.shape[1]
        position = state["position"]
        if position is None:
            position = levels.new_zeros(source.shape[0], 1)
        random = noise.uniform(
            self.config.seed, len(self.bin_hz), position.long(), frames, source.device, period=ROUNDS
        )
        state["position"] = (position + frames) % ROUNDS
        # The power of overlapping frames of independent noise is half of the frames' own.
        hiss = torch.polar(torch.full_like(random, (2 * self.scale) ** 0.5), 2 * math.pi * random)
        share = harmonic @ self.spread
        mixed = source * (whitening * share.sqrt()) + hiss.transpose(1, 2) * (1 - share).sqrt()
        gain = 0.0 if self.training else math.log(10) / 10 * self.config.gain_db
        return mixed * (levels * (0.5 * (envelope + gain)).exp())

    def _sound(self, power: Tensor) -> Tensor:
        """Return the gain (B, T, 1) of the added band, 0 where the input (B, T, F) is silent."""
        loudness = power.mean(-1, keepdim=True) / self.scale
        return (loudness / (loudness + SILENT)).sqrt()

    def _correlation(self, source: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """Return the correlation of magnitudes (B, T, F) over each band's bins: (B, T, bands), 0 to 1."""
        count = (valid @ self.members).clamp(min=1)

        def mean(values: Tensor) -> Tensor:
            return (values * valid) @ self.members / count

        means = mean(source), mean(target)
        both = mean(source * target) - means[0] * means[1]
        spreads = (mean(source.square()) - means[0].square()), (mean(target.square()) - means[1].square())
        return (both / (spreads[0] * spreads[1]).clamp(min=1e-20).sqrt()).clamp(0, 1)


def _narrowed(part: Tensor) -> Tensor:
    """Apply a Hann window in the frequency domain to the real or imaginary part (..., F): (..., F - 1)."""
    whole = F.pad(part, (1, 0))
    return 0.5 * whole[..., 1:-1] - 0.25 * (whole[..., :-2] + whole[..., 2:])
