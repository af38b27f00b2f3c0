"""DTLN: a mask on a spectrum, then a mask on a learnt basis, each by LSTMs; blocks of 32 ms every 8 ms.

Westhausen, Meyer: Dual-Signal Transformation LSTM Network for Real-Time Noise Suppression, Interspeech 2020,
arXiv:2005.07551. Defaults are those of the released networks.

    block -> |FFT| -> LSTMs -> mask -> inverse FFT -> basis (256) -> LSTMs -> mask -> block, added up

Blocks have no window, neither before nor after. Latency is that of the blocks: 511 samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from audiotool.configuration import Depth, Fraction, Length, Rate, Width
from audiotool.dsp.level import Level
from audiotool.dsp.stft import StreamingSTFT, power_spectrum
from audiotool.models.base import Model, State
from audiotool.models.layers.conv import StreamingConvTranspose1d
from audiotool.models.layers.recurrent import StreamingLSTM

FLOOR = 1e-7
"""Added to magnitudes under the logarithm, and to variances under the root."""


@dataclass(frozen=True)
class DTLNConfig:
    """Hyper-parameters; the defaults are the released network (0.99 M parameters).

    Args:
        sample_rate: Hz.
        n_fft, hop_length: samples of a block, and from one block to the next.
        units, layers: sizes of the LSTMs of each stage.
        basis: size of the learnt basis.
        normalises: the first stage takes logarithms of magnitudes, normalised in each block, so that the
            level has less influence; False takes the magnitudes as they are.
        dropout: between LSTMs, in training.
    """

    sample_rate: Rate = 16000
    n_fft: Length = 512
    hop_length: Length = 128
    units: Width = 128
    layers: Depth = 2
    basis: Width = 256
    normalises: bool = False
    dropout: Fraction = 0.25

    def __post_init__(self) -> None:
        if self.n_fft % 2 or self.n_fft % self.hop_length:
            raise ValueError(f"n_fft {self.n_fft} is even and a multiple of hop_length {self.hop_length}")


class MaskEstimator(nn.Module):
    """Features (B, C, T) -> a mask (B, C, T) of 0 to 1. State: a list of the LSTMs'."""

    def __init__(self, features: int, config: DTLNConfig, normalises: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(features, eps=FLOOR) if normalises else nn.Identity()
        sizes = [features] + [config.units] * (config.layers - 1)
        self.lstms = nn.ModuleList(StreamingLSTM(size, config.units) for size in sizes)
        self.dropout = nn.Dropout(config.dropout)
        self.dense = nn.Linear(config.units, features)

    def forward(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        states = [None] * len(self.lstms) if state is None else list(state)
        x = self.norm(x.transpose(1, 2)).transpose(1, 2)
        for n, lstm in enumerate(self.lstms):
            x, states[n] = lstm(self.dropout(x) if n else x, states[n])
        return torch.sigmoid(self.dense(x.transpose(1, 2))).transpose(1, 2), states


class DTLN(Model):
    """Denoise a waveform (B, 1, T) -> (B, 1, T)."""

    name = "dtln"
    config_class = DTLNConfig
    small: ClassVar[dict[str, Any]] = {"n_fft": 64, "hop_length": 16, "units": 8, "basis": 16}
    reference = "Westhausen and Meyer, DTLN, Interspeech 2020, arXiv:2005.07551"
    state_meanings: ClassVar[dict[str, str]] = {
        "analysis.0": "samples that the next block begins with",
        "first": "hidden (0) and cell state (1) of each LSTM of the first stage",
        "second": "hidden (0) and cell state (1) of each LSTM of the second stage",
        "decoder": "sums that the next block still adds to",
    }

    def __init__(self, config: DTLNConfig) -> None:
        super().__init__(config)
        c = config
        self.sample_rate = c.sample_rate
        self.hop_length = c.hop_length
        self.latency = c.n_fft - 1
        self.analysis = StreamingSTFT(c.n_fft, c.hop_length, window="ones")
        self.first = MaskEstimator(c.n_fft // 2 + 1, c, c.normalises)
        self.encoder = nn.Conv1d(c.n_fft, c.basis, 1, bias=False)
        self.second = MaskEstimator(c.basis, c, normalises=True)
        # A transposed convolution decodes the blocks and adds them up.
        self.decoder = StreamingConvTranspose1d(c.basis, 1, c.n_fft, c.hop_length, bias=False)

    def start(self, level: Level[Tensor] | None = None, **conditions: Any) -> State:
        # The first block begins `skip` samples before the stream.
        skip = self.config.n_fft - self.config.hop_length
        return {"analysis": None, "first": None, "second": None, "decoder": None, "skip": skip}

    def step(self, x: Tensor, state: State = None, final: bool = False) -> tuple[Tensor, State]:
        state = dict(self.start() if state is None else state)
        spec, state["analysis"] = self.analysis(x[:, 0], state["analysis"], final)
        if spec.shape[-1]:
            blocks = self._first_stage(spec, state)
            features = self.encoder(blocks)
            mask, state["second"] = self.second(features, state["second"])
            features = features * mask
        else:
            features = x.new_zeros(x.shape[0], self.config.basis, 0)
        y, state["decoder"] = self.decoder(features, state["decoder"], final)
        dropped = min(state["skip"], y.shape[-1])
        state["skip"] -= dropped
        return y[..., dropped:], state

    def _first_stage(self, spec: Tensor, state: dict[str, Any]) -> Tensor:
        """Mask spectra (B, F, T); return blocks of samples (B, n_fft, T)."""
        # The root's gradient is finite in silence.
        magnitude = (power_spectrum(spec) + 1e-24).sqrt()
        seen = (magnitude + FLOOR).log() if self.config.normalises else magnitude
        mask, state["first"] = self.first(seen, state["first"])
        masked = torch.complex(spec.real * mask, spec.imag * mask)
        return torch.fft.irfft(masked.transpose(1, 2), self.config.n_fft).transpose(1, 2)
