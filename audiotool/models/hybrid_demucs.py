"""Hybrid Demucs: a U-Net over the spectrum and one over the waveform that meet in the middle.

Défossez: Hybrid Spectrogram and Waveform Source Separation, MDX Workshop 2021, arXiv:2111.03600.

The network is torchaudio's, whose outputs equal the official ones. Its one superfluous norm (before the
branches meet; 1,536 parameters at the published size that nothing reads) is left out, as in the official one.

Streaming: normalisation and local attention see a whole segment, so the model runs by overlap-add, and the
streamed output is not exactly the whole-file one. Measured with the random weights of the mono parity pack on
9 s in segments of 4 s with one second of cross-fade: a difference 37 dB below the output.
scripts/measure_overlap_add.py measures it for a checkpoint.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from audiotool.configuration import Depth, Length, Rate, Real, Stems, Whole, Width
from audiotool.errors import DependencyError
from audiotool.models.base import Model


@dataclass(frozen=True)
class HybridDemucsConfig:
    """Hyper-parameters; the defaults are the published music network (83,637,832 parameters).

    Args:
        sources: names of the stems, in the network's order.
        sample_rate: Hz.
        audio_channels: channels separated together.
        channels: of the first level, times `growth` at each further one.
        n_fft: samples; 1024 (with depth 5), 2048 or 4096. The hop is a quarter of it.
        depth: levels.
        freq_emb: weight of the frequency embedding, learnt emb_scale times faster, begun smooth or not.
        kernel_size, stride: of levels over frequency, and over time before the branches meet.
        time_stride: of levels after they met.
        context, context_enc: frames on either side that a decoder's, an encoder's mixing layer sees.
        norm_starts: first level with group norms.
        dconv_depth, dconv_comp, dconv_init: layers, channel compression and initial scale of the residual
            branches.
        dconv_attn, dconv_lstm: first level whose residual branches have local attention, an LSTM.
    """

    sources: Stems = ("drums", "bass", "other", "vocals")
    sample_rate: Rate = 44100
    audio_channels: Width = 2
    channels: Width = 48
    growth: Width = 2
    n_fft: Length = 4096
    depth: Depth = 6
    freq_emb: Real = 0.2
    emb_scale: Width = 10
    emb_smooth: bool = True
    kernel_size: Length = 8
    time_stride: Length = 2
    stride: Length = 4
    context: Whole = 1
    context_enc: Whole = 0
    norm_starts: Whole = 4
    norm_groups: Width = 4
    dconv_depth: Whole = 2
    dconv_comp: Whole = 4
    dconv_attn: Whole = 4
    dconv_lstm: Whole = 4
    dconv_init: Real = 1e-3


class HybridDemucs(Model):
    """Separate a waveform (B, C, T) -> (B, sources * C, T)."""

    name = "hybrid-demucs"
    tasks = ("separate", "denoise")
    config_class = HybridDemucsConfig
    small: ClassVar[dict[str, Any]] = {"channels": 8, "dconv_attn": 9, "dconv_lstm": 9}
    reference = "Défossez, Hybrid Spectrogram and Waveform Source Separation, 2021, arXiv:2111.03600"
    causal = False

    def __init__(self, config: HybridDemucsConfig) -> None:
        super().__init__(config)
        self.sample_rate = config.sample_rate
        self.channels = config.audio_channels
        self.stems = config.sources
        self.network = _network(config)
        levels_after = config.depth - len(self.network.time_encoder)
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


def _network(config: HybridDemucsConfig) -> Any:
    """torchaudio's module; imported here, as torchaudio takes a while.

    Raises:
        DependencyError: torchaudio is missing, or does not fit torch.
    """
    try:
        from torchaudio.models import HDemucs
    except (ImportError, OSError) as error:
        raise DependencyError(
            f"Hybrid Demucs needs torchaudio, which cannot be imported ({error}):"
            " `audiotool doctor` says how to fix it"
        ) from error
    values = dataclasses.asdict(config)
    values.update(sources=list(config.sources), nfft=values.pop("n_fft"))
    del values["sample_rate"]
    network = HDemucs(**values)
    network.time_encoder[-1].norm1 = nn.Identity()
    network._pad1d = _reflect
    return network


def _reflect(x: Tensor, left: int, right: int, mode: str) -> Tensor:
    """Pad by reflection; too short an x first takes part of the padding as zeros, on the right if it can.

    The official rule; torchaudio's own refuses recordings shorter than its padding.
    """
    missing = max(max(left, right) + 1 - x.shape[-1], 0)
    after = min(right, missing)
    before = missing - after
    return F.pad(F.pad(x, (before, after)), (left - before, right - after), mode)
