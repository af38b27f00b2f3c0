"""A causal band-split network: bands of the spectrum share one GRU over time and are mixed in every frame.

The spectrum is cut into bands, each turned into one feature vector, as in BSRNN (Luo and Yu, Music Source
Separation with Band-Split RNN, TASLP 2023, arXiv:2209.15174). A layer has three parts. A GRU over time
processes each band, with the same weights for all. A perceptron along the bands mixes those of a frame, as
the token mixing of Tolstikhin et al., MLP-Mixer, NeurIPS 2021, arXiv:2105.01601; BSRNN has a recurrence
there, which would need one step a band. A perceptron then processes the features of each band. Weights are
shared by the bands, so there are few of them and little training data is needed. A second GRU over all bands
together may follow each layer, for features that no single band has: the speaker, the kind of noise.

    bins  ->  bands (K, D)  ->  layers x [GRU over time, mixing of bands, perceptron]  ->  filters  ->  bins

The output is a complex ratio mask a stem; below `filter_below_hz` it may be a deep filter of several frames.
The spectrum is divided by a running level, so that the output does not depend on the input's level, in files
and live streams alike. Latency is that of the STFT: n_fft - 1 samples.

The recurrent states describe noise, voices and level only after a second or two, and until then the output is
worse. A recording that can be read twice therefore has a warm-up: the network first runs over its beginning
to compute the states, which are kept if the beginning holds more than noise.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiotool.configuration import Depth, Hertz, Length, Positive, Rate, Seconds, Stems, Whole, Width
from audiotool.dsp.attenuation import is_kept
from audiotool.dsp.framing import check_frames
from audiotool.dsp.level import Level
from audiotool.dsp.stft import StreamingISTFT
from audiotool.models.base import Model, State
from audiotool.models.layers.deep_filter import DeepFilter
from audiotool.models.layers.levelled_spectrum import LevelledSpectrum
from audiotool.models.layers.recurrent import GRU


@dataclass(frozen=True)
class BandSplitGRUConfig:
    """Hyper-parameters.

    Args:
        sample_rate: Hz.
        n_fft, hop_length: samples; the window is the square root of a Hann window.
        stems: names of the outputs.
        bands: (number of bands, bins in each), from bin 1 upwards; together n_fft / 2 bins. Bin 0 is dropped.
        dim: features of a band.
        layers: of GRU, mixing and perceptron.
        mixing: width of the mixing's inner layer, in multiples of the number of bands.
        expansion: width of the perceptron's inner layer, in multiples of dim.
        memory: features of the GRU over all bands together; 0 leaves it out.
        memory_every: layers from one such GRU to the next.
        learnt_start: begin with learned recurrent states, not with zeros.
        filter_taps: frames of the filters below `filter_below_hz`; 1 is a mask.
        filter_below_hz: highest frequency of deep filtering; the edge of a group of `bands`.
        compression: exponent of the magnitudes in the network's input.
        level_seconds: time constant of the running level.
    """

    sample_rate: Rate = 16000
    n_fft: Length = 512
    hop_length: Length = 256
    stems: Stems = ("speech",)
    bands: tuple[tuple[Width, Width], ...] = ((16, 4), (8, 8), (8, 16))
    dim: Width = 40
    layers: Depth = 3
    mixing: Depth = 2
    expansion: Depth = 2
    memory: Whole = 0
    memory_every: Length = 1
    learnt_start: bool = False
    filter_taps: Length = 3
    filter_below_hz: Hertz = 4000.0
    compression: Positive = 0.3
    level_seconds: Seconds = 3.0

    def __post_init__(self) -> None:
        check_frames(self.n_fft, self.hop_length)
        bins = sum(count * width for count, width in self.bands)
        if bins != self.n_fft // 2:
            raise ValueError(f"bands must hold n_fft / 2 = {self.n_fft // 2} bins together, found {bins}")


class BandLinear(nn.Module):
    """A separate linear layer for each band: (K, N, inputs) -> (K, N, outputs).

    Args:
        offset: (outputs,), added to the bias, which is initialised with zeros.
    """

    offset: Tensor

    def __init__(self, bands: int, inputs: int, outputs: int, offset: Tensor | None = None) -> None:
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(bands, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(bands, 1, outputs))
        self.register_buffer("offset", torch.zeros(1) if offset is None else offset, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias + self.offset, x, self.weight)


class Beginning(nn.Module):
    """The learned initial state of a GRU, which is initialised with zeros."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape
        # A vector, because Muon would orthogonalise a matrix.
        self.values = nn.Parameter(torch.zeros(math.prod(shape)))

    def forward(self, batch: int) -> Tensor:
        return self.values.view(self.shape).expand(batch, *self.shape)


class BandRecurrence(nn.Module):
    """Base of the layers with a GRU over rows (T * B * K, D). State: the GRU's, (B, *state_shape)."""

    def __init__(self, bands: int, state_shape: tuple[int, ...], learnt_start: bool) -> None:
        super().__init__()
        self.bands = bands
        self.beginning = Beginning(state_shape) if learnt_start else None

    def started(self, state: State, batch: int) -> State:
        """Return the state; at a stream's beginning the learned one, or None for zeros."""
        return self.beginning(batch) if state is None and self.beginning is not None else state


class BandLayer(BandRecurrence):
    """One layer: over time, over bands, over features, each with a residual."""

    def __init__(self, bands: int, dim: int, mixing: int, expansion: int, learnt_start: bool) -> None:
        super().__init__(bands, (bands, dim), learnt_start)
        self.time_norm = nn.LayerNorm(dim)
        self.gru = GRU(dim, dim)
        self.time = nn.Linear(dim, dim)
        self.band_norm = nn.LayerNorm(dim)
        self.spread = nn.Linear(bands, mixing * bands)
        self.gather = nn.Linear(mixing * bands, bands)
        self.feature_norm = nn.LayerNorm(dim)
        self.widen = nn.Linear(dim, expansion * dim)
        self.narrow = nn.Linear(expansion * dim, dim)

    def forward(self, x: Tensor, frames: int, state: State = None) -> tuple[Tensor, State]:
        """Process rows of `frames` frames; the rows of a frame, and the bands of a row, are adjacent."""
        state = self.started(state, x.shape[0] // (frames * self.bands))
        hidden = None if state is None else state.reshape(1, -1, state.shape[-1])
        recurrent, hidden = self.gru(self.time_norm(x).unflatten(0, (frames, -1)), hidden)
        x = x + self.time(recurrent.flatten(0, 1))
        x = x + self._mixed(self.band_norm(x).unflatten(0, (-1, self.bands))).flatten(0, 1)
        x = x + self.narrow(F.relu(self.widen(self.feature_norm(x)), inplace=True))
        return x, hidden.view(-1, self.bands, hidden.shape[-1])

    def _mixed(self, x: Tensor) -> Tensor:
        """Apply the perceptron along K: (N, K, D) -> (N, K, D)."""
        if torch.is_grad_enabled():
            return self.gather(F.relu(self.spread(x.transpose(1, 2)), inplace=True)).transpose(1, 2)
        if torch.compiler.is_exporting():
            # Two convolutions compute the same, and other runtimes fuse them with bias and ReLU.
            x = F.relu(F.conv1d(x, self.spread.weight[..., None], self.spread.bias))
            return F.conv1d(x, self.gather.weight[..., None], self.gather.bias)
        # Without transposes this takes 0.6 to 0.9 of the time. Its backward pass would take 1.4 of it.
        for layer, act in ((self.spread, F.relu), (self.gather, None)):
            x = torch.baddbmm(layer.bias[:, None], layer.weight.expand(x.shape[0], -1, -1), x)
            x = x if act is None else act(x, inplace=True)
        return x


class Memory(BandRecurrence):
    """A GRU over all bands together, whose output is added to each band.

    Its output is zero until it is trained, so that it can be added to a trained network.
    """

    def __init__(self, bands: int, dim: int, units: int, learnt_start: bool) -> None:
        super().__init__(bands, (units,), learnt_start)
        self.norm = nn.LayerNorm(dim)
        self.gather = nn.Linear(bands * dim, units)
        self.gru = GRU(units, units)
        self.spread = nn.Linear(units, bands * dim)
        nn.init.zeros_(self.spread.weight)
        nn.init.zeros_(self.spread.bias)

    def forward(self, x: Tensor, frames: int, state: State = None) -> tuple[Tensor, State]:
        """As `BandLayer`."""
        state = self.started(state, x.shape[0] // (frames * self.bands))
        hidden = None if state is None else state[None]
        gathered = self.gather(self.norm(x).unflatten(0, (-1, self.bands)).flatten(1))
        recurrent, hidden = self.gru(gathered.unflatten(0, (frames, -1)), hidden)
        added = self.spread(recurrent.flatten(0, 1)).unflatten(1, (self.bands, -1))
        return x + added.flatten(0, 1), hidden[0]


class BandSplitGRU(Model):
    """Waveform (B, 1, T) to stems (B, S, T)."""

    name = "band-split-gru"
    gives: ClassVar[tuple[str, ...]] = ("speech", "stems")
    config_class = BandSplitGRUConfig
    small: ClassVar[dict[str, Any]] = {"dim": 8, "layers": 1}
    reference = "Band split after Luo and Yu, TASLP 2023, arXiv:2209.15174; arrangement our own"
    state_meanings: ClassVar[dict[str, str]] = {
        "analysis.0": "samples that the next frame begins with",
        "analysis.1": "running level: mean power, and the weight it has gathered",
        "layers": "a layer's memory of each band",
        "memories": "a layer's memory of all bands together",
        "filters": "the last frames' lowest bins, real and imaginary",
        "synthesis.0": "sums that the next frame still adds to",
    }
    warmed_up: ClassVar[tuple[str, ...]] = ("layers", "memories", "analysis.1")
    warm_up_seconds = 8.0

    def __init__(self, config: BandSplitGRUConfig) -> None:
        super().__init__(config)
        c = config
        self.sample_rate = c.sample_rate
        self.hop_length = c.hop_length
        self.latency = c.n_fft - 1
        self.stems = c.stems
        if len(c.stems) > 1:
            self.warm_up_seconds = 12.0  # separation needs the speakers, who appear later than the noise
        self.analysis: nn.Module = LevelledSpectrum(c.n_fft, c.hop_length, c.level_seconds, c.sample_rate)
        self.synthesis = StreamingISTFT(c.n_fft, c.hop_length, window="sqrt_hann")
        bands = sum(count for count, _ in c.bands)
        self.taps = self._taps_of_groups()
        self.split = nn.ModuleList(BandLinear(count, 3 * width, c.dim) for count, width in c.bands)
        self.layers = nn.ModuleList(
            BandLayer(bands, c.dim, c.mixing, c.expansion, c.learnt_start) for _ in range(c.layers)
        )
        self.memories = nn.ModuleList(
            Memory(bands, c.dim, c.memory, c.learnt_start)
            for _ in range(c.layers // c.memory_every)
            if c.memory
        )
        self.head_norm = nn.LayerNorm(c.dim)
        self.head = nn.Linear(c.dim, 2 * c.dim)
        self.masks = nn.ModuleList(
            BandLinear(count, 2 * c.dim, 2 * len(c.stems) * taps * width, _halves(len(c.stems), taps, width))
            for (count, width), taps in zip(c.bands, self.taps, strict=True)
        )
        # Neighbouring groups with the same number of taps are filtered together.
        self.filters = nn.ModuleList(DeepFilter(taps) for taps, _ in itertools.groupby(self.taps))

    def _taps_of_groups(self) -> list[int]:
        c, taps, end = self.config, [], 1
        for count, width in c.bands:
            end += count * width
            taps.append(c.filter_taps if (end - 1) * c.sample_rate / c.n_fft <= c.filter_below_hz else 1)
        return taps

    @property
    def recurrences(self) -> dict[str, Sequence[BandRecurrence]]:
        """Return the recurrent layers by their path in the state."""
        found = {"layers": self.layers, "memories": self.memories}
        return cast("dict[str, Sequence[BandRecurrence]]", found)

    def start(self, level: Level[Tensor] | None = None, memory: State = None, **conditions: Any) -> State:
        fresh = {
            "analysis": None,
            **{name: [None] * len(parts) for name, parts in self.recurrences.items()},
            "filters": [None] * len(self.filters),
            "synthesis": None,
        }
        return fresh | (memory or {})

    def beginning(self) -> State:
        if not self.config.learnt_start:
            return {}
        return {
            name: [part.started(None, 1)[0] for part in parts] for name, parts in self.recurrences.items()
        }

    def warm_up(self, beginning: Tensor) -> State:
        # After a warm-up with noise alone the first words would be lost, so its state is reset.
        kept, state = self.step(beginning)
        state = self.forget(state, ~is_kept(beginning, kept))
        _, level_state, _ = state["analysis"]
        return {name: state[name] for name in self.recurrences} | {"analysis": (None, level_state, None)}

    def forget(self, state: State, rows: Tensor, memory: State = None, share: float = 1.0) -> State:
        initial = self.start(memory=memory)

        def reset(held: Tensor | None, start: Tensor | float | None) -> Tensor | None:
            if held is None:  # the state is that of a beginning already
                return None
            mask = rows.view(-1, *[1] * (held.dim() - 1))
            return torch.where(mask, share * (0.0 if start is None else start) + (1 - share) * held, held)

        kept = dict(state)
        for name, parts in self.recurrences.items():
            kept[name] = [
                reset(held, part.started(start, len(rows)))
                for part, held, start in zip(parts, state[name], initial[name], strict=True)
            ]
        if state["analysis"] is not None:
            stft_state, level_state, waiting = state["analysis"]
            start = None if initial["analysis"] is None else initial["analysis"][1]
            kept["analysis"] = (stft_state, reset(level_state, start), waiting)
        return kept

    @torch.no_grad()
    def begin_with(self, memory: State, share: float) -> None:
        """Set the initial state of streams without a warm-up; needs `learnt_start`.

        Args:
            memory: result of `warm_up` for a batch of recordings, whose mean is used.
            share: factor of the mean. The more the recordings differ, the smaller a factor is best.
        """
        for name, parts in self.recurrences.items():
            for part, state in zip(parts, memory[name], strict=True):
                assert part.beginning is not None
                part.beginning.values.copy_(share * state.mean(0).flatten())

    def step(self, x: Tensor, state: State = None, final: bool = False) -> tuple[Tensor, State]:
        state = dict(self.start() if state is None else state)
        (spec, levels), state["analysis"] = self.analysis(x[:, 0], state["analysis"], final)
        if spec.shape[-1]:
            spec = self._enhance(spec, levels, state)
        else:
            spec = spec[:, None].expand(-1, len(self.stems), -1, -1)
        y, state["synthesis"] = self.synthesis(spec, state["synthesis"], final)
        return y, state

    def _enhance(self, spec: Tensor, levels: Tensor, state: dict[str, Any]) -> Tensor:
        """Spec (B, F, T) and levels (B, 1, T) -> output specs (B, S, F, T)."""
        bins = spec.permute(2, 0, 1)
        hidden = self._encode(bins, levels.permute(2, 0, 1), state)
        return self._filter(bins, hidden, state).permute(1, 2, 3, 0)

    def _encode(self, bins: Tensor, levels: Tensor, state: dict[str, Any]) -> Tensor:
        """Encode complex (T, B, F) with levels (T, B, 1) to the features of every band (T * B, K, D)."""
        c, frames = self.config, bins.shape[0]
        sizes = [count * width for count, width in c.bands]
        features = self._features(bins[..., 1:].flatten(0, 1), levels.flatten(0, 1))
        parts = [
            split(part.unflatten(1, (count, width)).flatten(2).transpose(0, 1))
            for split, part, (count, width) in zip(
                self.split, features.split(sizes, dim=1), c.bands, strict=True
            )
        ]
        # The residual stream stays in single precision under autocast.
        h = torch.cat(parts).transpose(0, 1).to(features.dtype)
        bands, h = h.shape[1], h.flatten(0, 1)
        states, memories = list(state["layers"]), list(state["memories"])
        for n, layer in enumerate(self.layers):
            h, states[n] = layer(h, frames, states[n])
            if self.memories and (n + 1) % c.memory_every == 0:
                m = n // c.memory_every
                h, memories[m] = self.memories[m](h, frames, memories[m])
        state["layers"], state["memories"] = states, memories
        return h.unflatten(0, (-1, bands))

    def _filter(self, bins: Tensor, hidden: Tensor, state: dict[str, Any]) -> Tensor:
        """Filter complex (T, B, F) as the features (T * B, K, D) say: complex outputs (T, B, S, F)."""
        frames = bins.shape[0]
        h = F.relu(self.head(self.head_norm(hidden)), inplace=True)
        groups = h.transpose(0, 1).split([count for count, _ in self.config.bands])
        coefficients = [self._coefficients(n, group) for n, group in enumerate(groups)]
        bins = bins[..., 1:]
        outputs, filter_states = [], []
        end = 0
        for layer, layer_state in zip(self.filters, state["filters"], strict=True):
            kernels = torch.cat([k for k in coefficients if k.shape[3] == layer.taps], dim=4)
            begin, end = end, end + kernels.shape[4]
            kernels = torch.complex(*kernels.to(bins.real.dtype))
            filtered, layer_state = layer(bins[..., begin:end], kernels, layer_state)
            outputs.append(filtered)
            filter_states.append(layer_state)
        state["filters"] = filter_states
        # Bin 0 is dropped.
        return F.pad(torch.cat(outputs, dim=2), (1, 0)).unflatten(0, (frames, -1))

    def _features(self, bins: Tensor, levels: Tensor) -> Tensor:
        """Complex (T * B, F) and levels (T * B, 1) -> (T * B, F, 3): compressed parts and magnitude."""
        real, imaginary = bins.real / levels, bins.imag / levels
        power = torch.addcmul(real.square(), imaginary, imaginary) + 1e-8
        gain = power.pow((self.config.compression - 1) / 2)
        return torch.stack((real * gain, imaginary * gain, power.sqrt() * gain), dim=-1)

    def _coefficients(self, n: int, h: Tensor) -> Tensor:
        """Features (K, T * B, 2D) of group n -> real and imaginary parts (2, T * B, S, taps, K * width)."""
        values = self.masks[n](h).unflatten(2, (2, len(self.stems), self.taps[n], -1))
        # (K, T * B, 2, S, taps, width) -> (2, T * B, S, taps, K * width)
        return values.permute(2, 1, 3, 4, 0, 5).flatten(4)


def _halves(stems: int, taps: int, width: int) -> Tensor:
    """Return the initial filters, flat: an untrained network halves its input."""
    filters = torch.zeros(2, stems, taps, width)
    filters[0, :, 0] = 0.5
    return filters.flatten()
