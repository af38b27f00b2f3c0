"""Mel spectrograms in PyTorch: differentiable, whole and as a stream. `dsp.mel` has their definition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from audiotool.dsp.mel import MelConfig, filterbank, mel_config
from audiotool.dsp.stft import StreamingSTFT, power_spectrum


def filterbank_tensor(config: MelConfig) -> Tensor:
    """Return `dsp.mel.filterbank` on the default device, which may be "meta", without values."""
    return torch.from_numpy(filterbank(config)).to(torch.get_default_device())


class MelSpectrogram(nn.Module):
    """Analyse a waveform into a mel of one definition; differentiable.

    Args:
        config: the definition, a preset's name or plain values.
    """

    filterbank: Tensor

    def __init__(self, config: MelConfig | str | Mapping[str, Any]) -> None:
        super().__init__()
        self.config = mel_config(config)
        c = self.config
        self.stft = StreamingSTFT(c.n_fft, c.hop_length, c.win_length, padding=c.padding)
        self.register_buffer("filterbank", filterbank_tensor(c), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Whole waveform (B, T) or (B, 1, T) -> (B, n_mels, frames(T))."""
        return self.step(waveform, final=True)[0]

    def step(self, waveform: Tensor, state: Any = None, final: bool = False) -> tuple[Tensor, Any]:
        """Consume a chunk of any length and return the frames that are complete.

        Args:
            waveform: (B, T) or (B, 1, T) with T >= 0.
            state: from the previous step; None begins a stream.
            final: the stream ends with this chunk.
        Returns:
            (B, n_mels, frames) and the state: (STFT state, samples so far, frames so far).
        """
        x = waveform[:, 0] if waveform.dim() == 3 else waveform
        inner, length, emitted = (None, 0, 0) if state is None else state
        length += x.shape[-1]
        spec, inner = self.stft(x, inner, final)
        if final:
            # The end of a very short stream is padded before it is reflected.
            spec = spec[..., : max(0, self.config.frames(length) - emitted)]
        return self.from_spec(spec), (inner, length, emitted + spec.shape[-1])

    def from_spec(self, spec: Tensor) -> Tensor:
        """Compute the mel (B, n_mels, frames) of a complex spec (B, F, frames)."""
        c = self.config
        power = power_spectrum(spec)
        if c.power_offset:
            power = power + c.power_offset
        magnitude = power if c.power == 2 else _root(power) ** c.power
        mel = torch.matmul(self.filterbank.T, magnitude)
        if c.log == "none":
            return mel
        mel = mel.clamp(min=c.floor)
        return mel.log() if c.log == "natural" else mel.log10()


def _root(power: Tensor) -> Tensor:
    """Compute the square root with a gradient of zero, instead of infinity, at exactly zero."""
    silent = power == 0
    return torch.where(silent, 0.0, torch.where(silent, 1.0, power).sqrt())
