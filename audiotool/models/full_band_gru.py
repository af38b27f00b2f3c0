"""A band-split GRU at 48 kHz: the network of a lower rate below 8 kHz, and learned gains in bands above it.

    spec x, 1536 samples ─┬─ lowest 257 bins ─ BandSplitGRU ─ filters ── e ─┬─ e + g (x - e)
                          │                        └ features, attenuation   │
                          └─ bins above 5 kHz ── powers of bands ── GRUs ── g ┘

A window of 1536 samples at 48 kHz lasts as long as one of 512 at 16 kHz, and has the same shape. The lowest
257 bins of its transform are therefore those of the signal at 16 kHz, times 3, and a trained `BandSplitGRU`
runs on them unchanged, without a resampler. Its weights keep their names. In the bands above, vowels have
only hiss, and an s has most of its energy. The gains g, 0 to 1, are computed in every frame from the powers
of the upper bands, the features of the low ones, and their attenuation; with slopes, that of a bin depends
on its own power, too. Above 8 kHz e is 0, and the output is g x. From 5 to 8 kHz g restores a part of what
the network of the low band, which was trained on many recordings of narrow band, has removed.

If the weights of the low band are frozen, no gradient is computed through it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiotool.configuration import Depth, Length, Rate, Width
from audiotool.dsp.bands import band_means, interpolation
from audiotool.dsp.framing import check_frames
from audiotool.dsp.stft import StreamingSTFT, power_spectrum
from audiotool.models.band_split_gru import (
    BandLayer,
    BandLinear,
    BandRecurrence,
    BandSplitGRU,
    BandSplitGRUConfig,
)
from audiotool.models.base import State
from audiotool.models.layers.level import RunningLevel
from audiotool.models.layers.levelled_spectrum import FLOOR

CONTEXT = 4
"""Number of bands that represent the low band among the upper ones."""

QUIETEST = 1e-6
"""Added to the powers of a level-normalised spectrum before their logarithm."""


@dataclass(frozen=True)
class FullBandGRUConfig(BandSplitGRUConfig):
    """Hyper-parameters.

    Args:
        bands: as `BandSplitGRUConfig`, of the low band: fewer than n_fft / 2 bins together.
        upper_bands: (number of bands, bins in each), up to half the sample rate; they may begin within the
            low band.
        upper_dim: features of an upper band.
        upper_layers: of GRU, mixing and perceptron for the upper bands.
        upper_slopes: the gain of a bin depends on its own power, too, as that of the best estimate of its
            logarithm does (Ephraim and Malah, Speech enhancement using a minimum mean-square error
            log-spectral amplitude estimator, TASSP 1985).
    """

    sample_rate: Rate = 48000
    n_fft: Length = 1536
    hop_length: Length = 768
    upper_bands: tuple[tuple[Width, Width], ...] = ((14, 16), (6, 32), (4, 48))
    upper_dim: Width = 32
    upper_layers: Depth = 2
    upper_slopes: bool = False

    def __post_init__(self) -> None:
        check_frames(self.n_fft, self.hop_length)
        if not 0 <= self.n_fft // 2 - self.upper_bins <= self.low_bins < self.n_fft // 2:
            raise ValueError(
                f"bands and upper_bands must fill n_fft / 2 = {self.n_fft // 2} bins, each without the other"
                f" fewer: found {self.low_bins} and {self.upper_bins}"
            )
        if len(self.stems) != 1:
            raise ValueError(f"the upper band has one stem, found {len(self.stems)}")

    @property
    def low_bins(self) -> int:
        """Return the number of bins that the low band's network filters, without bin 0."""
        return sum(count * width for count, width in self.bands)

    @property
    def edge(self) -> int:
        """Return the first bin above the low band."""
        return self.low_bins + 1

    @property
    def ratio(self) -> float:
        """Return the ratio of the sample rate to that of the low band."""
        return self.n_fft / (2 * self.low_bins)

    @property
    def upper_bins(self) -> int:
        """Return the number of bins in the upper bands."""
        return sum(count * width for count, width in self.upper_bands)


class LowBandSpectrum(nn.Module):
    """Waveform (B, T) to spec (B, F, frames), scaled as at the low band's rate, and levels (B, 1, frames).

    As `LevelledSpectrum`, but the level is that of the low band, computed from the frames.

    State: the STFT's, the level's, and None.
    """

    def __init__(self, c: FullBandGRUConfig) -> None:
        super().__init__()
        self.edge, self.ratio = c.edge, c.ratio
        # Parseval over 2 low_bins; the squared window sums to a hop, because hops are half a window.
        self.scale = c.ratio / (2 * c.low_bins * c.hop_length)
        self.stft = StreamingSTFT(c.n_fft, c.hop_length, window="sqrt_hann")
        self.level = RunningLevel(c.hop_length, c.level_seconds * c.sample_rate / c.hop_length)

    def forward(
        self, x: Tensor, state: State = None, final: bool = False
    ) -> tuple[tuple[Tensor, Tensor], State]:
        stft_state, level_state, _ = state or (None, None, None)
        spec, stft_state = self.stft(x, stft_state, final)
        spec = spec / self.ratio
        power = power_spectrum(spec[:, : self.edge])
        whole = 2 * power.sum(1) - power[:, 0] - power[:, -1]
        levels, level_state = self.level.of_powers(whole * self.scale, level_state)
        return (spec, levels + FLOOR), (stft_state, level_state, None)


class UpperBands(nn.Module):
    """Gains of the bins of the upper bands.

    State: a list of the layers'.
    """

    low_means: Tensor
    means: Tensor
    spread: Tensor

    def __init__(self, c: FullBandGRUConfig) -> None:
        super().__init__()
        low, upper, dim = _widths(c.bands), _widths(c.upper_bands), c.upper_dim
        self.bands = len(upper)
        self.register_buffer("low_means", band_means(low), persistent=False)
        self.register_buffer("means", band_means(upper), persistent=False)
        self.register_buffer("spread", interpolation(upper), persistent=False)
        self.split = BandLinear(self.bands, 3, dim)
        self.low_norm = nn.LayerNorm(c.dim)
        self.pool = nn.Linear(len(low), CONTEXT)
        self.narrow = nn.Linear(c.dim, dim)
        self.kept = nn.Linear(2 * len(low), CONTEXT * dim)
        self.layers = nn.ModuleList(
            BandLayer(self.bands + CONTEXT, dim, c.mixing, c.expansion, c.learnt_start)
            for _ in range(c.upper_layers)
        )
        self.head_norm = nn.LayerNorm(dim)
        self.head = BandLinear(self.bands, dim, 1)
        nn.init.constant_(self.head.bias, -2.0)  # an untrained network has small gains
        self.slopes = BandLinear(self.bands, dim, 1) if c.upper_slopes else None
        if self.slopes is not None:
            nn.init.zeros_(self.slopes.weight)  # and the same for all bins of a band

    def forward(
        self, upper: Tensor, low: Tensor, enhanced: Tensor, hidden: Tensor, state: State
    ) -> tuple[Tensor, State]:
        """Powers over the level's square -> gains (T, B, F) of 0 to 1.

        Args:
            upper: (T, B, F), bins of the upper bands.
            low, enhanced: (T, B, low bins), before and after the low band's network.
            hidden: (T * B, K, D), features of that network.
        """
        frames, batch = upper.shape[:2]
        bands = self.split(self._features(upper).flatten(0, 1).transpose(0, 1)).transpose(0, 1)
        kept = torch.cat([_logarithm(power @ self.low_means) for power in (low, enhanced)], dim=-1)
        context = self.kept(kept).flatten(0, 1).unflatten(1, (CONTEXT, -1))
        context = context + self.narrow(self.pool(self.low_norm(hidden).transpose(1, 2)).transpose(1, 2))
        h = torch.cat((bands, context), dim=1).flatten(0, 1)
        states = list(state)
        for n, layer in enumerate(self.layers):
            h, states[n] = layer(h, frames, states[n])
        h = self.head_norm(h.unflatten(0, (frames * batch, -1))[:, : self.bands]).transpose(0, 1)
        logits = self.head(h)
        if self.slopes is None:
            return self._spread(torch.sigmoid(logits), frames), states
        slopes = self._spread(self.slopes(h), frames)
        return torch.sigmoid(self._spread(logits, frames) + slopes * self._prominences(upper)), states

    def _spread(self, values: Tensor, frames: int) -> Tensor:
        """Values of bands (bands, T * B, 1) -> of bins (T, B, F)."""
        return values.transpose(0, 1).reshape(frames, -1, self.bands) @ self.spread

    def _prominences(self, upper: Tensor) -> Tensor:
        """Return (T, B, F), logarithms of the magnitudes over those of the bands round them."""
        return 5 * (_logarithm(upper) - _logarithm(upper @ self.means) @ self.spread)

    def _features(self, upper: Tensor) -> Tensor:
        """Return (T, B, bands, 3): two levels of each band, and the spread of its bins."""
        power = upper @ self.means
        flat = (upper.sqrt() @ self.means).square()
        level = _logarithm(power)
        return torch.stack((level, (power + QUIETEST).pow(0.15), 10 * (level - _logarithm(flat))), dim=-1)


class FullBandGRU(BandSplitGRU):
    """Waveform (B, 1, T) to speech (B, 1, T)."""

    name = "full-band-gru"
    gives: ClassVar[tuple[str, ...]] = ("speech",)
    config_class = FullBandGRUConfig
    config: FullBandGRUConfig
    small: ClassVar[dict[str, Any]] = {
        "dim": 8,
        "layers": 1,
        "upper_dim": 8,
        "upper_layers": 1,
        "upper_slopes": True,
    }
    reference = "Our own: BandSplitGRU below 8 kHz, gains in bands above"
    state_meanings: ClassVar[dict[str, str]] = {
        **BandSplitGRU.state_meanings,
        "analysis.1": "running level of the low band: mean power, and the weight it has gathered",
        "upper": "a layer's memory of each upper band, and of what the low band says",
    }
    warmed_up: ClassVar[tuple[str, ...]] = (*BandSplitGRU.warmed_up, "upper")

    def __init__(self, config: FullBandGRUConfig) -> None:
        super().__init__(config)
        # Logarithms of empty bands amplify the rounding of the transform.
        self.rounding = 3e-5
        self.analysis = LowBandSpectrum(config)
        self.upper = UpperBands(config)

    @property
    def recurrences(self) -> dict[str, Sequence[BandRecurrence]]:
        return {**super().recurrences, "upper": cast("Sequence[BandRecurrence]", self.upper.layers)}

    def _enhance(self, spec: Tensor, levels: Tensor, state: dict[str, Any]) -> Tensor:
        bins, levels = spec.permute(2, 0, 1), levels.permute(2, 0, 1)
        low, upper = bins[..., : self.config.edge], bins[..., -self.config.upper_bins :]
        trained = any(weight.requires_grad for weight in self.split.parameters())
        with contextlib.nullcontext() if trained or not torch.is_grad_enabled() else torch.no_grad():
            hidden = self._encode(low, levels, state)
            enhanced = self._filter(low, hidden, state)[:, :, 0]
        powers = [power_spectrum(part) / levels.square() for part in (upper, low[..., 1:], enhanced[..., 1:])]
        gains, state["upper"] = self.upper(*powers, hidden, state["upper"])
        enhanced = torch.cat((enhanced, torch.zeros_like(bins[..., self.config.edge :])), dim=-1)
        gains = F.pad(gains, (bins.shape[-1] - gains.shape[-1], 0))
        outputs = (enhanced + gains * (bins - enhanced)) * self.config.ratio
        return outputs[:, :, None].permute(1, 2, 3, 0)


def _logarithm(power: Tensor) -> Tensor:
    """Return scaled logarithms of powers, about -1.4 to 1."""
    return 0.1 * (power + QUIETEST).log()


def _widths(bands: Sequence[tuple[int, int]]) -> list[int]:
    return [width for count, width in bands for _ in range(count)]
