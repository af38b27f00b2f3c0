"""DeepFilterNet3: gains in ERB bands for everything, complex filters over time for the lower bins; 48 kHz.

Schröter, Rosenkranz, Escalante-B., Maier: DeepFilterNet: Perceptually Motivated Real-Time Speech Enhancement,
Interspeech 2023, arXiv:2305.08227. Names and defaults are those of the released network.

    spec X -> ERB levels, lower bins of X, both over their running means -> encoder -> embedding (GRU)
                                     embedding -> GRUs -> gains (32 bands)            Y[t] = gain * X[t]
                                     embedding -> GRUs -> filters (96 bins, 5 taps)   Y[t] = sum c_j X[t + j]

The embedding of frame t filters frame t - 2: filters and gains look two frames ahead. The running means begin
with the released values and are part of the state. Latency: n_fft - 1 + 2 hops (40 ms).

The released program chooses the stages of a frame by thresholds on its local signal-to-noise ratio, which a
head of the encoder estimates. Its command line runs both stages in every frame, as the defaults do here; its
plug-in begins with -10, 20 and 30 dB. There the decoders skip frames without their stage, here they process
all. Its attenuation limit is `max_attenuation_db` of the pipeline.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiotool.configuration import Depth, Fraction, Length, Rate, Real, Seconds, Whole, Width
from audiotool.dsp.bands import membership
from audiotool.dsp.erb import erb_widths
from audiotool.dsp.framing import check_frames
from audiotool.dsp.level import Level
from audiotool.dsp.stft import StreamingISTFT, StreamingSTFT
from audiotool.models.base import Model, State
from audiotool.models.layers.recurrent import StreamingGRU
from audiotool.models.layers.running_mean import RunningMean

LEVELS_DB = (-60.0, -90.0)
"""Initial running means of the ERB levels, of the lowest and the highest band; linear between."""

MAGNITUDES = (0.001, 0.0001)
"""Initial running means of the magnitudes, of the lowest and the highest bin; linear between."""

FILTER_GROUPS = 8
"""Groups of the linear layer before the filters' GRUs, independent of `groups`."""


@dataclass(frozen=True)
class DeepFilterNet3Config:
    """Hyper-parameters; the defaults are the released network (2.13 M parameters, norms folded).

    Args:
        sample_rate: Hz.
        n_fft, hop_length: samples; the window is Vorbis'.
        erb_bands, min_bins: bands over all bins, and bins in the narrowest.
        filtered_bins: lowest bins, which are filtered; even.
        filter_taps, lookahead: frames that a filter spans, and how many of them come after its own.
        norm_seconds: time constant of the running means.
        channels: channels of the convolutions.
        embedding: units of the GRUs of encoder and gains, `filter_units` of those of the filters.
        gain_layers, filter_layers: number of GRUs in each decoder.
        groups, encoder_groups: groups of the linear layers, and of the one from the filtered bins.
        batch_norm: normalise activations, as in training; False for folded weights.
        post_filter: strength of the post-filter, which lowers small gains further; 0 for none, the released
            program uses 0.02.
        estimates_snr: add the head that estimates a frame's local signal-to-noise ratio, as in the released
            weights. It is not trained here.
        lowest_snr_db, highest_snr_db: range of its estimates.
        silence_below_db: frames with a lower ratio become silent.
        no_filters_above_db: frames with a higher ratio have gains in all bins and no filters.
        unchanged_above_db: frames with a higher ratio stay unchanged.
    """

    sample_rate: Rate = 48000
    n_fft: Length = 960
    hop_length: Length = 480
    erb_bands: Width = 32
    min_bins: Width = 2
    filtered_bins: Width = 96
    filter_taps: Length = 5
    lookahead: Whole = 2
    norm_seconds: Seconds = 1.0
    channels: Width = 64
    embedding: Width = 256
    filter_units: Width = 256
    gain_layers: Depth = 2
    filter_layers: Depth = 2
    groups: Width = 16
    encoder_groups: Width = 32
    batch_norm: bool = True
    post_filter: Fraction = 0.0
    estimates_snr: bool = False
    lowest_snr_db: Real = -15.0
    highest_snr_db: Real = 35.0
    silence_below_db: Real = -15.0
    no_filters_above_db: Real = 35.0
    unchanged_above_db: Real = 35.0

    def __post_init__(self) -> None:
        check_frames(self.n_fft, self.hop_length)
        if self.erb_bands % 4 or self.filtered_bins % 2 or self.filtered_bins > self.n_fft // 2:
            raise ValueError(
                "erb_bands is a multiple of 4, filtered_bins even and at most half of n_fft: got"
                f" {self.erb_bands} and {self.filtered_bins}"
            )
        if self.lookahead >= self.filter_taps:
            raise ValueError(f"lookahead {self.lookahead} is not within filter_taps {self.filter_taps}")
        if self.chooses_stages and not self.estimates_snr:
            raise ValueError(
                "silence_below_db, no_filters_above_db and unchanged_above_db need weights that estimate the"
                " local signal-to-noise ratio: these have none"
            )

    @property
    def chooses_stages(self) -> bool:
        """Whether a stage is left out at some local signal-to-noise ratio."""
        highest = min(self.no_filters_above_db, self.unchanged_above_db)
        return self.silence_below_db > self.lowest_snr_db or highest < self.highest_snr_db

    @property
    def decay(self) -> float:
        """Return the decay of the running means in a frame, rounded as in the released program."""
        exact = math.exp(-self.hop_length / self.sample_rate / self.norm_seconds)
        digits = 3
        while (rounded := round(exact, digits)) >= 1:
            digits += 1
        return rounded


class GroupedLinear(nn.Module):
    """A linear layer for each group of features; (B, T, D) -> (B, T, outputs)."""

    def __init__(self, inputs: int, outputs: int, groups: int) -> None:
        super().__init__()
        if inputs % groups or outputs % groups:
            raise ValueError(f"{groups} groups do not divide {inputs} and {outputs} features")
        bound = (groups / inputs) ** 0.5
        shape = (groups, inputs // groups, outputs // groups)
        self.weight = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        rows = x.unflatten(2, (self.weight.shape[0], -1)).flatten(0, 1).transpose(0, 1)  # (G, B T, D / G)
        return torch.bmm(rows, self.weight).transpose(0, 1).flatten(1).unflatten(0, x.shape[:2])


class TimeFrequencyConv(nn.Module):
    """Convolution, mixing of channels, norm, ReLU: (B, C, T, F) -> (B, out, T, F').

    Args:
        kernel: (frames, bins); frames look back.
        stride: stride over bins; with `up` that of a transposed convolution.
        groups: groups of the convolution; a 1x1 convolution follows unless `mixes` is False.

    State: (B, C, frames - 1, F) the frames before.
    """

    def __init__(
        self,
        inner: int,
        outer: int,
        kernel: tuple[int, int],
        batch_norm: bool,
        stride: int = 1,
        groups: int = 1,
        up: bool = False,
        mixes: bool = True,
    ) -> None:
        super().__init__()
        self.history = kernel[0] - 1
        bias, edge = not batch_norm and not mixes, kernel[1] // 2
        self.conv: nn.Module
        if up:
            self.conv = nn.ConvTranspose2d(
                inner, outer, kernel, (1, stride), (0, edge), (0, stride - 1), groups, bias
            )
        else:
            self.conv = nn.Conv2d(inner, outer, kernel, (1, stride), (0, edge), 1, groups, bias)
        self.mix = nn.Conv2d(outer, outer, 1, bias=not batch_norm) if mixes else nn.Identity()
        self.norm = nn.BatchNorm2d(outer) if batch_norm else nn.Identity()

    def forward(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        y, state = self.linear(x, state)
        return F.relu(y), state

    def linear(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Compute all but the ReLU."""
        if self.history:
            before = x.new_zeros(*x.shape[:2], self.history, x.shape[3]) if state is None else state
            x = torch.cat((before, x), dim=2)
            state = x[:, :, x.shape[2] - self.history :].clone()
        return self.norm(self.mix(self.conv(x))), state


class SqueezedGRU(nn.Module):
    """Grouped linear layer, GRUs, and optionally another linear layer; (B, T, D). State: a list of the
    GRUs'."""

    def __init__(
        self, inputs: int, units: int, outputs: int | None, layers: int, groups: tuple[int, int]
    ) -> None:
        super().__init__()
        self.linear_in = GroupedLinear(inputs, units, groups[0])
        self.grus = nn.ModuleList(StreamingGRU(units, units) for _ in range(layers))
        self.linear_out = None if outputs is None else GroupedLinear(units, outputs, groups[1])

    def forward(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        states = [None] * len(self.grus) if state is None else list(state)
        x = F.relu(self.linear_in(x)).transpose(1, 2)
        for n, gru in enumerate(self.grus):
            x, states[n] = gru(x, states[n])
        x = x.transpose(1, 2)
        return (x if self.linear_out is None else F.relu(self.linear_out(x))), states


def _flat(x: Tensor) -> Tensor:
    """Flatten (B, C, T, F) to (B, T, F * C); the channels of a bin are adjacent."""
    return x.permute(0, 2, 3, 1).flatten(2)


class Encoder(nn.Module):
    """Levels (B, 1, T, bands) and bins (B, 2, T, filtered) -> embedding, four maps of the levels, one of the
    bins. State: of the two first convolutions and of the GRU."""

    def __init__(self, c: DeepFilterNet3Config) -> None:
        super().__init__()
        ch, norm, width = c.channels, c.batch_norm, c.channels * c.erb_bands // 4
        self.erb_conv0 = TimeFrequencyConv(1, ch, (3, 3), norm, mixes=False)
        self.erb_conv1 = TimeFrequencyConv(ch, ch, (1, 3), norm, stride=2, groups=ch)
        self.erb_conv2 = TimeFrequencyConv(ch, ch, (1, 3), norm, stride=2, groups=ch)
        self.erb_conv3 = TimeFrequencyConv(ch, ch, (1, 3), norm, groups=ch)
        self.df_conv0 = TimeFrequencyConv(2, ch, (3, 3), norm, groups=2)
        self.df_conv1 = TimeFrequencyConv(ch, ch, (1, 3), norm, stride=2, groups=ch)
        self.df_fc_emb = GroupedLinear(ch * c.filtered_bins // 2, width, c.encoder_groups)
        self.emb_gru = SqueezedGRU(width, c.embedding, width, 1, (c.groups, c.groups))

    def forward(
        self, levels: Tensor, bins: Tensor, state: State
    ) -> tuple[Tensor, tuple[Tensor, ...], Tensor, State]:
        first, second, memory = (None, None, None) if state is None else state
        e0, first = self.erb_conv0(levels, first)
        e1, _ = self.erb_conv1(e0)
        e2, _ = self.erb_conv2(e1)
        e3, _ = self.erb_conv3(e2)
        c0, second = self.df_conv0(bins, second)
        c1, _ = self.df_conv1(c0)
        embedding = _flat(e3) + F.relu(self.df_fc_emb(_flat(c1)))
        embedding, memory = self.emb_gru(embedding, memory)
        return embedding, (e0, e1, e2, e3), c0, (first, second, memory)


class GainDecoder(nn.Module):
    """Embedding and the encoder's maps -> gains (B, T, bands) of 0 to 1. State: the GRUs'."""

    def __init__(self, c: DeepFilterNet3Config) -> None:
        super().__init__()
        ch, norm, width = c.channels, c.batch_norm, c.channels * c.erb_bands // 4
        self.emb_gru = SqueezedGRU(width, c.embedding, width, c.gain_layers, (c.groups, c.groups))
        self.paths = nn.ModuleList(
            TimeFrequencyConv(ch, ch, (1, 1), norm, groups=ch, mixes=False) for _ in range(4)
        )
        self.spread = nn.ModuleList(
            [
                TimeFrequencyConv(ch, ch, (1, 3), norm, groups=ch),
                TimeFrequencyConv(ch, ch, (1, 3), norm, stride=2, groups=ch, up=True),
                TimeFrequencyConv(ch, ch, (1, 3), norm, stride=2, groups=ch, up=True),
            ]
        )
        self.out = TimeFrequencyConv(ch, 1, (1, 3), norm, mixes=False)

    def forward(self, embedding: Tensor, maps: Sequence[Tensor], state: State = None) -> tuple[Tensor, State]:
        x, state = self.emb_gru(embedding, state)
        x = x.unflatten(2, (maps[3].shape[3], -1)).permute(0, 3, 1, 2)
        for path, spread, skip in zip(self.paths, self.spread, reversed(maps), strict=False):
            x = spread(path(skip)[0] + x)[0]
        x, _ = self.out.linear(self.paths[3](maps[0])[0] + x)
        return torch.sigmoid(x)[:, 0], state


class FilterDecoder(nn.Module):
    """Embedding and the encoder's map of the bins -> filters (B, T, filtered, taps, 2), real and imaginary.

    State: of the convolution and the GRUs.
    """

    def __init__(self, c: DeepFilterNet3Config) -> None:
        super().__init__()
        self.taps = c.filter_taps
        ch, width, values = c.channels, c.channels * c.erb_bands // 4, 2 * c.filter_taps
        self.df_convp = TimeFrequencyConv(ch, values, (5, 1), c.batch_norm, groups=math.gcd(ch, values))
        self.df_gru = SqueezedGRU(width, c.filter_units, None, c.filter_layers, (FILTER_GROUPS, 1))
        self.df_skip = GroupedLinear(width, c.filter_units, c.groups)
        self.df_out = GroupedLinear(c.filter_units, c.filtered_bins * values, c.groups)

    def forward(self, embedding: Tensor, bins: Tensor, state: State = None) -> tuple[Tensor, State]:
        conv, memory = (None, None) if state is None else state
        y, memory = self.df_gru(embedding, memory)
        y = torch.tanh(self.df_out(y + self.df_skip(embedding)))
        direct, conv = self.df_convp(bins, conv)
        y = y.unflatten(2, (bins.shape[3], -1)) + direct.permute(0, 2, 3, 1)
        return y.unflatten(3, (self.taps, 2)), (conv, memory)


class DeepFilterNet3(Model):
    """Denoise a waveform (B, 1, T) -> (B, 1, T)."""

    name = "deepfilternet3"
    config_class = DeepFilterNet3Config
    small: ClassVar[dict[str, Any]] = {
        "n_fft": 320,
        "hop_length": 160,
        "erb_bands": 8,
        "filtered_bins": 16,
        "channels": 8,
        "embedding": 16,
        "filter_units": 16,
        "groups": 4,
        "encoder_groups": 4,
    }
    reference = "Schröter et al., DeepFilterNet, Interspeech 2023, arXiv:2305.08227"
    state_meanings: ClassVar[dict[str, str]] = {
        "analysis.0": "samples that the next frame begins with",
        "means": "running means of levels (0) and of magnitudes (1), minus their initial values",
        "network": "frames that a convolution's next frame sees, and the hidden states of the GRUs",
        "past": "the last noisy frames, which the filters see: real and imaginary parts",
        "synthesis.0": "sums that the next frame still adds to",
    }

    bands: Tensor
    snr_weight: Tensor
    snr_bias: Tensor

    def __init__(self, config: DeepFilterNet3Config) -> None:
        super().__init__(config)
        c = config
        self.sample_rate = c.sample_rate
        self.hop_length = c.hop_length
        self.latency = c.n_fft - 1 + c.lookahead * c.hop_length
        self.analysis = StreamingSTFT(c.n_fft, c.hop_length, window="vorbis")
        self.synthesis = StreamingISTFT(c.n_fft, c.hop_length, window="vorbis")
        widths = erb_widths(c.erb_bands, c.n_fft, c.sample_rate, c.min_bins)
        self.register_buffer("bands", membership(widths).T.contiguous(), persistent=False)
        self.levels = RunningMean(c.decay, torch.linspace(*LEVELS_DB, c.erb_bands))
        self.magnitudes = RunningMean(c.decay, torch.linspace(*MAGNITUDES, c.filtered_bins))
        self.enc = Encoder(c)
        self.erb_dec = GainDecoder(c)
        self.df_dec = FilterDecoder(c)
        if c.estimates_snr:
            # Buffers, because no loss trains them.
            self.register_buffer("snr_weight", torch.zeros(1, c.channels * c.erb_bands // 4))
            self.register_buffer("snr_bias", torch.zeros(1))

    def start(self, level: Level[Tensor] | None = None, **conditions: Any) -> State:
        return {
            "analysis": None,
            "means": (None, None),
            "network": (None, None, None),
            "past": None,
            "skip": self.config.lookahead,
            "synthesis": None,
        }

    def step(self, x: Tensor, state: State = None, final: bool = False) -> tuple[Tensor, State]:
        state = dict(self.start() if state is None else state)
        if final:
            # The filters look ahead into silence after the end.
            x = F.pad(x, (0, self.config.lookahead * self.config.hop_length))
        spec, state["analysis"] = self.analysis(x[:, 0], state["analysis"], final)
        if spec.shape[-1]:
            real, imag = self._enhance(torch.stack((spec.real, spec.imag)), state)
            # Output before the first frame is dropped.
            dropped = min(state["skip"], real.shape[-1])
            state["skip"] -= dropped
            spec = torch.complex(real[..., dropped:], imag[..., dropped:])
        y, state["synthesis"] = self.synthesis(spec, state["synthesis"], final)
        return y[:, None], state

    def _enhance(self, spec: Tensor, state: dict[str, Any]) -> Tensor:
        """Enhance real and imaginary parts (2, B, F, T), T > 0; the output is `lookahead` frames late."""
        c = self.config
        levels, bins = self._features(spec / c.n_fft, state)
        encoder, gain_state, filter_state = state["network"]
        embedding, maps, c0, encoder = self.enc(levels, bins, encoder)
        gains, gain_state = self.erb_dec(embedding, maps, gain_state)
        filters, filter_state = self.df_dec(embedding, c0, filter_state)
        state["network"] = (encoder, gain_state, filter_state)

        frames, taps = spec.shape[-1], c.filter_taps
        past = state["past"]
        # A state has its streams along the first axis.
        past = spec.new_zeros(*spec.shape[:3], taps - 1) if past is None else past.transpose(0, 1)
        spec = torch.cat((past, spec), dim=-1)
        state["past"] = spec[..., frames:].transpose(0, 1).contiguous()
        now = taps - 1 - c.lookahead
        noisy = spec[..., now : now + frames]
        # Without filters, gains are for the lower bins too.
        begin = 0 if c.chooses_stages else c.filtered_bins
        masked = noisy[:, :, begin:] * (gains @ self.bands[:, begin:]).transpose(1, 2)
        windows = spec[:, :, : c.filtered_bins].unfold(3, taps, 1)  # (2, B, F, T, taps)
        kernels = filters.permute(4, 0, 2, 1, 3)  # (2, B, F, T, taps)
        real = (windows[0] * kernels[0] - windows[1] * kernels[1]).sum(-1)
        imag = (windows[0] * kernels[1] + windows[1] * kernels[0]).sum(-1)
        enhanced = torch.cat((torch.stack((real, imag)), masked[:, :, c.filtered_bins - begin :]), dim=2)
        if c.chooses_stages:
            enhanced = self._chosen(enhanced, masked, noisy, self.local_snr_db(embedding))
        return self._post_filtered(enhanced, noisy) if c.post_filter else enhanced

    def _features(self, spec: Tensor, state: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Scaled spectra (2, B, F, T) -> levels (B, 1, T, bands) and bins (B, 2, T, filtered)."""
        levels_mean, magnitudes_mean = state["means"]
        power = spec.square().sum(0)
        bands = self.bands / self.bands.sum(1, keepdim=True)
        levels = 10 * torch.log10(bands @ power + 1e-10)
        mean, levels_mean = self.levels(levels, levels_mean)
        levels = (levels - mean) / 40
        low = self.config.filtered_bins
        # The root's gradient is finite in silence.
        magnitude = (power[:, :low] + 1e-24).sqrt()
        mean, magnitudes_mean = self.magnitudes(magnitude, magnitudes_mean)
        bins = spec[:, :, :low] / mean.sqrt()
        state["means"] = (levels_mean, magnitudes_mean)
        return levels.transpose(1, 2)[:, None], bins.permute(1, 0, 3, 2)

    def local_snr_db(self, embedding: Tensor) -> Tensor:
        """Estimate each frame's local signal-to-noise ratio from the embedding: (B, T, D) -> (B, T)."""
        low, high = self.config.lowest_snr_db, self.config.highest_snr_db
        share = torch.sigmoid(F.linear(embedding, self.snr_weight, self.snr_bias))[..., 0]
        return low + (high - low) * share

    def _chosen(self, enhanced: Tensor, masked: Tensor, noisy: Tensor, snr_db: Tensor) -> Tensor:
        """Choose for each frame: both stages' spectrum (2, B, F, T), the gains', the input's, or silence."""
        c, snr_db = self.config, snr_db[:, None]
        chosen = torch.where(snr_db > c.no_filters_above_db, masked, enhanced)
        chosen = torch.where(snr_db > c.unchanged_above_db, noisy, chosen)
        return torch.where(snr_db < c.silence_below_db, 0.0, chosen)

    def _post_filtered(self, enhanced: Tensor, noisy: Tensor) -> Tensor:
        """Lower small gains further (Valin et al., PercepNet, Interspeech 2020, arXiv:2008.04259)."""
        beta = self.config.post_filter
        gain = enhanced.square().sum(0).sqrt() / (noisy.square().sum(0).sqrt() + 1e-12)
        gain = gain.clamp(min=1e-12, max=1)
        factor = (1 + beta) / (1 + beta / torch.sin(gain * (math.pi / 2)).square())
        # The released program processes four bins at a time and skips the rest.
        whole = factor.shape[1] // 4 * 4
        return torch.cat((enhanced[:, :, :whole] * factor[:, :whole], enhanced[:, :, whole:]), dim=2)
