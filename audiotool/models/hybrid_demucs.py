"""Hybrid Demucs: a U-Net over the spectrum and one over the waveform, with a shared bottleneck.

Défossez: Hybrid Spectrogram and Waveform Source Separation, MDX Workshop 2021, arXiv:2111.03600.

Every combination of the official options is built, but for Wiener filtering with iterations. With frames of
2048 samples, which the official network does not allow, the last level over time has torchaudio's sizes.

Streaming: normalisation and local attention use a whole segment, so the model runs by overlap-add, and the
streamed output differs from the whole-file output. With the random weights of the mono parity pack, 9 s in
segments of 4 s with one second of cross-fade, the difference is 37 dB below the output.
scripts/measure_overlap_add.py measures it for a checkpoint.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiotool.configuration import Depth, Fraction, Length, Positive, Rate, Real, Stems, Whole, Width
from audiotool.models.base import Model
from audiotool.models.layers.demucs import (
    BandDecoder,
    BandEncoder,
    BranchShape,
    DecoderLevel,
    EncoderLevel,
    FrequencyEmbedding,
    LevelShape,
)
from audiotool.value_types import Range

INITIAL_DEVIATION = 0.1
"""Weights of convolutions are initialised with the geometric mean of their usual deviation and this one."""


@dataclass(frozen=True)
class HybridDemucsConfig:
    """Hyper-parameters; the defaults are the published music network (83,637,832 parameters).

    Args:
        sources: names of the stems, in the network's order.
        sample_rate: Hz.
        audio_channels: channels separated together.
        channels: channels of the first level, times `growth` at each further one.
        channels_time: the same for the time branch; None takes `channels`.
        n_fft: samples; 1024 (with depth 5), 2048 or 4096. The hop is a quarter of it.
        cac: real and imaginary parts as channels; False uses magnitudes and the mixture's phase.
        wiener_iters: without `cac`, 0 takes the mixture's phase, -1 the same with the official safeguard at
            silent bins; iterations of a Wiener filter are not supported.
        depth: number of levels.
        rewrite: add a gated convolution to each level.
        hybrid: add the time branch.
        hybrid_old: pad as the first released networks, which delays the spectral part by 3/8 of a frame.
        multi_freqs: upper edges, as shares of all bins, of bands with separate layers.
        multi_freqs_depth: number of outermost levels that are split into these bands.
        freq_emb, emb_scale, emb_smooth: weight of the frequency embedding, factor of its learning rate, and
            whether neighbouring bins are initialised with similar vectors.
        kernel_size, stride: of levels along frequency, and along time before the branches are joined.
        time_stride: stride of levels after the branches are joined, 1 or even.
        context, context_enc: frames on either side in the kernel of a decoder's, an encoder's gated
            convolution.
        norm_starts: first level with group norms.
        dconv_mode: residual branches in encoders (1), decoders (2), both (3) or nowhere (0).
        dconv_depth, dconv_comp, dconv_init: layers, channel compression and initial scale of the residual
            branches.
        dconv_attn, dconv_lstm: first level whose residual branches have local attention, and an LSTM.
    """

    sources: Stems = ("drums", "bass", "other", "vocals")
    sample_rate: Rate = 44100
    audio_channels: Width = 2
    channels: Width = 48
    channels_time: Width | None = None
    growth: Annotated[float, Range(ge=0.25, le=8)] = 2
    n_fft: Length = 4096
    cac: bool = True
    wiener_iters: Literal[0, -1] = 0
    depth: Depth = 6
    rewrite: bool = True
    hybrid: bool = True
    hybrid_old: bool = False
    multi_freqs: tuple[Fraction, ...] = ()
    multi_freqs_depth: Whole = 2
    freq_emb: Real = 0.2
    emb_scale: Positive = 10
    emb_smooth: bool = True
    kernel_size: Length = 8
    time_stride: Length = 2
    stride: Length = 4
    context: Whole = 1
    context_enc: Whole = 0
    norm_starts: Whole = 4
    norm_groups: Width = 4
    dconv_mode: Literal[0, 1, 2, 3] = 1
    dconv_depth: Annotated[int, Range(ge=-16, le=16)] = 2
    dconv_comp: Positive = 4
    dconv_attn: Whole = 4
    dconv_lstm: Whole = 4
    dconv_init: Real = 1e-3

    def __post_init__(self) -> None:
        if self.hybrid_old and not self.hybrid:
            raise ValueError("hybrid_old is a way of padding hybrid networks: set hybrid too")
        if self.time_stride > 1 and self.time_stride % 2:
            raise ValueError(f"time_stride must be 1 or even, found {self.time_stride}")
        narrowest = min(self.channels, self.channels_time or self.channels)
        if self.dconv_comp > narrowest:
            raise ValueError(f"dconv_comp {self.dconv_comp:g} leaves nothing of {narrowest} channels")
        if self.hybrid and self.n_fft != 2048 and 4 * self.stride**self.levels_over_frequency != self.n_fft:
            raise ValueError(
                f"depth {self.depth}, stride {self.stride} and kernel_size {self.kernel_size} do not bring a"
                f" spectrum of n_fft {self.n_fft} and the waveform to one rate, where a hybrid's parts meet"
            )
        if self.multi_freqs and self.multi_freqs_depth > min(
            self.norm_starts, self.levels_over_frequency - 1
        ):
            raise ValueError(
                "multi_freqs splits levels that have no norms and are not the last over frequency"
            )
        if self.multi_freqs and self.kernel_size != 2 * self.stride:
            raise ValueError("multi_freqs needs a kernel_size of twice the stride")

    @property
    def levels_over_frequency(self) -> int:
        """Return the number of levels until a single bin is left."""
        bins, levels = self.n_fft // 2, 0
        while bins > 1 and levels < self.depth:
            bins = 1 if bins <= self.kernel_size else bins // self.stride
            levels += 1
        return levels


class HybridDemucs(Model):
    """Separate a waveform (B, C, T) -> (B, sources * C, T)."""

    name = "hybrid-demucs"
    gives = ("stems", "speech")
    config_class = HybridDemucsConfig
    small: ClassVar[dict[str, Any]] = {"channels": 8, "dconv_attn": 9, "dconv_lstm": 9}
    reference = "Défossez, Hybrid Spectrogram and Waveform Source Separation, 2021, arXiv:2111.03600"
    causal = False

    def __init__(self, config: HybridDemucsConfig) -> None:
        super().__init__(config)
        self.sample_rate = config.sample_rate
        self.channels = config.audio_channels
        self.stems = config.sources
        self.network = HybridUNet(config)
        levels_after = config.depth - config.levels_over_frequency
        self.hop_length = config.n_fft // 4 * config.time_stride**levels_after

    def forward(self, mixture: Tensor) -> Tensor:
        """(B, C, T) -> stems (B, sources, C, T), as the official network."""
        return self.network(mixture)

    def process(self, x: Tensor, **conditions: Any) -> Tensor:
        """Separate (B, C, T) -> (B, sources * C, T), any T >= 0."""
        length = x.shape[-1]
        if length == 0:
            return x.new_zeros(x.shape[0], len(self.stems) * x.shape[1], 0)
        # A single sample has no standard deviation.
        stems = self(F.pad(x, (0, max(2 - length, 0))))
        return stems[..., :length].flatten(1, 2)


class HybridUNet(nn.Module):
    """Both U-Nets and the transforms; (B, C, T) -> (B, sources, C, T)."""

    window: Tensor

    def __init__(self, config: HybridDemucsConfig) -> None:
        super().__init__()
        self.config = c = config
        self.freq_encoder, self.freq_decoder = nn.ModuleList(), nn.ModuleList()
        self.time_encoder, self.time_decoder = nn.ModuleList(), nn.ModuleList()
        self.freq_emb: FrequencyEmbedding | None = None
        self.register_buffer("window", torch.hann_window(c.n_fft), persistent=False)
        parts = 2 if c.cac else 1
        inner, inner_time = c.audio_channels * parts, c.audio_channels
        outer, outer_time = c.channels, c.channels_time or c.channels
        bins = c.n_fft // 2
        for level in range(c.depth):
            last = 1 < bins <= c.kernel_size
            if last:
                outer = outer_time = max(outer, outer_time)
            shape = _shape(c, level, bins)
            split = bool(c.multi_freqs) and level < c.multi_freqs_depth
            encoder: nn.Module = EncoderLevel(inner, outer, _with(shape, c, 1), c.context_enc)
            self.freq_encoder.append(BandEncoder(encoder, c.multi_freqs) if split else encoder)  # type: ignore[arg-type]
            time_shape = _time_shape(c, level, last) if c.hybrid and bins > 1 else None
            if time_shape is not None:
                self.time_encoder.append(
                    EncoderLevel(inner_time, outer_time, _with(time_shape, c, 1), c.context_enc)
                )
            if level == 0:
                inner_time = c.audio_channels * len(c.sources)
                inner = inner_time * parts
            decoder: nn.Module = DecoderLevel(
                outer, inner, _with(shape, c, 2), c.context, level == 0, over_frequency=not split
            )
            self.freq_decoder.insert(0, BandDecoder(decoder, c.multi_freqs) if split else decoder)  # type: ignore[arg-type]
            if time_shape is not None:
                self.time_decoder.insert(
                    0, DecoderLevel(outer_time, inner_time, _with(time_shape, c, 2), c.context, level == 0)
                )
            bins = 1 if bins <= c.kernel_size else bins // c.stride
            if level == 0 and c.freq_emb:
                self.freq_emb = FrequencyEmbedding(bins, outer, c.emb_scale, c.emb_smooth)
            inner, inner_time = outer, outer_time
            outer, outer_time = int(c.growth * outer), int(c.growth * outer_time)
        _rescale(self)

    def forward(self, mixture: Tensor) -> Tensor:
        c, length = self.config, mixture.shape[-1]
        spec = self.analyse(mixture)
        x, mean, std = _levelled(_as_channels(spec) if c.cac else spec.abs())
        wave, wave_mean, wave_std = _levelled(mixture)
        x, wave = self._decode(*self._encode(x, wave if c.hybrid else None))
        stems = len(c.sources)
        x = x.unflatten(1, (stems, -1)) * std[:, None] + mean[:, None]
        y = self.synthesise(self._complex(x, spec), length)
        if not c.hybrid:
            return y
        return y + wave.unflatten(1, (stems, -1)) * wave_std[:, None] + wave_mean[:, None]

    def _encode(
        self, x: Tensor, wave: Tensor | None
    ) -> tuple[list[Tensor], list[int], list[Tensor], list[int]]:
        """Return the outputs of the levels and the lengths of their inputs, of both branches."""
        skips, lengths, wave_skips, wave_lengths = [], [], [], []
        for n, encode in enumerate(self.freq_encoder):
            lengths.append(x.shape[-1])
            other = None
            if wave is not None and n < len(self.time_encoder):
                wave_lengths.append(wave.shape[-1])
                wave = self.time_encoder[n](wave)
                if cast(EncoderLevel, self.time_encoder[n]).shape.meets:
                    other = wave
                else:
                    wave_skips.append(wave)
            x = encode(x, other)
            if n == 0 and self.freq_emb is not None:
                x = x + self.config.freq_emb * self.freq_emb()[..., None]
            skips.append(x)
        return skips, lengths, wave_skips, wave_lengths

    def _decode(
        self, skips: list[Tensor], lengths: list[int], wave_skips: list[Tensor], wave_lengths: list[int]
    ) -> tuple[Tensor, Tensor]:
        """Return the outputs of both branches, decoded from the skips."""
        x = wave = torch.zeros_like(skips[-1])
        alone = len(self.freq_decoder) - len(self.time_decoder)
        for n, decode in enumerate(self.freq_decoder):
            x, before = decode(x, skips.pop(), lengths.pop())
            if n < alone:
                continue
            decode_wave = cast(DecoderLevel, self.time_decoder[n - alone])
            if decode_wave.shape.meets:
                wave, _ = decode_wave(before[:, :, 0], None, wave_lengths.pop())
            else:
                wave, _ = decode_wave(wave, wave_skips.pop(), wave_lengths.pop())
        return x, wave

    def analyse(self, x: Tensor) -> Tensor:
        """(B, C, T) -> complex (B, C, n_fft / 2, frames), one frame for each hop if there is a time
        branch."""
        n_fft, hop = self.config.n_fft, self.config.n_fft // 4
        frames = -(-x.shape[-1] // hop)
        if self.config.hybrid:
            edge = hop // 2 * 3
            pad = (edge, edge + frames * hop - x.shape[-1])
            x = F.pad(x, pad) if self.config.hybrid_old else reflect(x, *pad)
        else:
            # Reflection needs more samples than it adds.
            x = F.pad(x, (0, max(0, n_fft // 2 + 1 - x.shape[-1])))
        spec = torch.stft(
            x.flatten(0, 1), n_fft, hop, window=self.window, normalized=True, return_complex=True
        )
        spec = spec.unflatten(0, x.shape[:2])[:, :, :-1]
        return spec[..., 2 : 2 + frames] if self.config.hybrid else spec

    def synthesise(self, spec: Tensor, length: int) -> Tensor:
        """Complex (B, S, C, n_fft / 2, frames) -> (B, S, C, length)."""
        n_fft, hop = self.config.n_fft, self.config.n_fft // 4
        spec = F.pad(spec, (0, 0, 0, 1))
        start, covered = 0, length
        if self.config.hybrid:
            spec = F.pad(spec, (2, 2))
            start = 0 if self.config.hybrid_old else hop // 2 * 3
            covered = -(-length // hop) * hop + 2 * start
        flat = spec.flatten(0, 2)
        y = torch.istft(flat, n_fft, hop, window=self.window, normalized=True, length=covered)
        return y.unflatten(0, spec.shape[:3])[..., start : start + length]

    def _complex(self, x: Tensor, mixture: Tensor) -> Tensor:
        """Convert the network's output (B, S, C or 2 C, F, T) to complex spectra (B, S, C, F, T)."""
        if self.config.cac:
            real, imag = x.unflatten(2, (-1, 2)).unbind(3)
            return torch.complex(real, imag)
        mixture = mixture[:, None]
        if self.config.wiener_iters < 0:
            return mixture / (1e-8 + mixture.abs()) * x
        angle = mixture.angle()
        return torch.complex(x * angle.cos(), x * angle.sin())


def _shape(c: HybridDemucsConfig, level: int, bins: int) -> LevelShape:
    """Return the shape of the spectral level with so many input bins, without its residual branch."""
    groups = c.norm_groups if level >= c.norm_starts else None
    if bins == 1:
        return LevelShape(False, 2 * c.time_stride, c.time_stride, True, groups, c.rewrite, _branch(c, level))
    last = bins <= c.kernel_size
    kernel = bins if last else c.kernel_size
    return LevelShape(True, kernel, c.stride, not last, groups, c.rewrite, _branch(c, level))


def _time_shape(c: HybridDemucsConfig, level: int, last: bool) -> LevelShape:
    """Return the shape of the waveform's level beside it."""
    groups = c.norm_groups if level >= c.norm_starts else None
    kernel, stride = (4, 2) if last and c.n_fft == 2048 else (c.kernel_size, c.stride)
    return LevelShape(False, kernel, stride, True, groups, c.rewrite, _branch(c, level), meets=last)


def _branch(c: HybridDemucsConfig, level: int) -> BranchShape:
    return BranchShape(
        c.dconv_depth, c.dconv_comp, c.dconv_init, level >= c.dconv_attn, level >= c.dconv_lstm
    )


def _with(shape: LevelShape, c: HybridDemucsConfig, side: int) -> LevelShape:
    """Return the shape of encoders (side 1) or decoders (side 2), with the residual branch of dconv_mode."""
    return shape if c.dconv_mode & side else dataclasses.replace(shape, branch=None)


def _levelled(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise each item to mean 0 and deviation 1; also return its mean and deviation."""
    axes = tuple(range(1, x.dim()))
    mean, std = x.mean(axes, keepdim=True), x.std(axes, keepdim=True)
    return (x - mean) / (1e-5 + std), mean, std


def _as_channels(spec: Tensor) -> Tensor:
    """Complex (B, C, F, T) -> (B, 2 C, F, T), the real part of each channel before its imaginary part."""
    return torch.view_as_real(spec).permute(0, 1, 4, 2, 3).flatten(1, 2)


def _rescale(network: nn.Module) -> None:
    for layer in network.modules():
        if isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d)):
            with torch.no_grad():
                scale = (layer.weight.std() / INITIAL_DEVIATION).sqrt()
                layer.weight.div_(scale)
                if layer.bias is not None:
                    layer.bias.div_(scale)


def reflect(x: Tensor, left: int, right: int) -> Tensor:
    """Pad by reflection; an x that is too short is first padded with zeros, on the right if possible."""
    missing = max(max(left, right) + 1 - x.shape[-1], 0)
    after = min(right, missing)
    before = missing - after
    return F.pad(F.pad(x, (before, after)), (left - before, right - after), "reflect")
