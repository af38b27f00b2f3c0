"""Copy synthesis: a waveform analysed into a vocoder's features, and spoken again by the vocoder.

    waveform ── mel ──┬── vocoder ── waveform
               (F0 ──┘)

To everything around it (streamer, session, pipeline) this is a model from waveform to waveform.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from audiotool.dsp.mel import MelSpectrogram
from audiotool.dsp.pitch import PitchTracker
from audiotool.errors import CheckpointError
from audiotool.models.base import Model, State
from audiotool.models.vocoder import Vocoder


def takes_mel(vocoder: Vocoder) -> bool:
    """Whether a waveform can be analysed into its input: a mel, with F0 behind it or not; not a codec's."""
    return vocoder.mel is not None and vocoder.input_channels == vocoder.mel.n_mels + uses_f0(vocoder)


def check_takes_mel(vocoder: Vocoder) -> None:
    """Refuse a vocoder whose input no analysis here makes.

    Raises:
        CheckpointError: it takes a codec's features.
    """
    if not takes_mel(vocoder):
        raise CheckpointError(
            f"this {vocoder.name} takes {vocoder.input_channels} features of a codec, not a mel:"
            " give it a file of them, not a waveform"
        )


def uses_f0(vocoder: Vocoder) -> bool:
    """Whether its features have F0 in Hz as one channel behind the mel."""
    return bool(getattr(vocoder, "uses_f0", False))


class CopySynthesis(Model):
    """A vocoder from waveform (B, 1, T) to waveform (B, 1, T).

    It is causal when the vocoder is, and has the vocoder's context, the analysis's added, when it is not. F0,
    where the vocoder wants it, is tracked as the stream goes: its frames are independent of one another, so
    that streamed and whole-file F0 are the same.

    The input's end is extended with zeros until the frames say something of every sample.

    Args:
        vocoder: in eval mode, on its device.
    Raises:
        CheckpointError: it takes a codec's features.
    """

    name = "copy-synthesis"
    tasks = ("vocode",)

    def __init__(self, vocoder: Vocoder) -> None:
        check_takes_mel(vocoder)
        super().__init__(vocoder.config)
        mel = vocoder.mel
        self.vocoder = vocoder
        device = next(vocoder.parameters()).device
        self.analysis = MelSpectrogram(mel).to(device)
        self.pitch = PitchTracker(mel.sample_rate, mel.hop_length) if uses_f0(vocoder) else None
        self.sample_rate = vocoder.sample_rate
        self.hop_length = vocoder.hop_length * mel.hop_length
        self.causal = vocoder.causal
        self.uses_position = vocoder.uses_position
        ahead, behind = max(mel.lookahead, self.analysis.stft.edge), mel.n_fft - 1 - mel.lookahead
        if self.pitch is not None:
            ahead, behind = max(ahead, self.pitch.lookahead), max(behind, self.pitch.history)
        self.ahead = ahead
        self.latency = vocoder.latency + ahead
        if vocoder.context is not None:
            before, after = (frames * mel.hop_length for frames in vocoder.context)
            self.context = (before + behind + mel.hop_length - 1, after + ahead)

    @property
    def delay(self) -> int:
        hop = self.vocoder.upsampling
        return -(-(self.ahead + 1) // hop) * hop - hop + self.vocoder.delay

    def process(self, x: Tensor, level: Any = None, position: int = 0, **conditions: Any) -> Tensor:
        """(B, 1, T) -> (B, 1, T).

        Args:
            level: not needed.
            position: sample of the stream that x begins with, a multiple of the mel's hop.
            conditions: passed to the vocoder (seed).
        """
        if self.causal:
            return super().process(x, **conditions)
        length = x.shape[-1]
        if self.uses_position:
            conditions["position"] = position // self.vocoder.upsampling
        features, _ = self._features(x, self._begin(), final=True)
        return self.vocoder.process(features, **conditions)[..., :length]

    def forward(self, x: Tensor) -> Tensor:
        return self.process(x)

    def start(self, level: Any = None, **conditions: Any) -> State:
        return {**self._begin(), "vocoder": self.vocoder.start(**conditions)}

    def step(self, x: Tensor, state: State = None, final: bool = False) -> tuple[Tensor, State]:
        if not self.causal:
            return super().step(x, state, final)
        state = self.start() if state is None else state
        features, new = self._features(x, state, final)
        y, new["vocoder"] = self.vocoder.step(features, state["vocoder"], final)
        return y, new

    def padded_length(self, length: int) -> int:
        """Samples that `length` samples are extended to, so that the vocoder's output covers them all."""
        hop = self.vocoder.upsampling
        candidates = itertools.count(-(-length // hop) * hop, hop)
        return next(n for n in candidates if self._covered(n) >= length)

    def _covered(self, length: int) -> int:
        return self.vocoder.output_length(self.analysis.config.frames(length))

    @staticmethod
    def _begin() -> dict[str, Any]:
        return {"mel": None, "pitch": None, "waiting": None, "length": 0}

    def _features(self, x: Tensor, state: dict[str, Any], final: bool) -> tuple[Tensor, dict[str, Any]]:
        """Frames that are complete, (B, input_channels, frames), and the analysis's state."""
        length = state["length"] + x.shape[-1]
        if final:
            x = F.pad(x, (0, self.padded_length(length) - length))
        mel, mel_state = self.analysis.step(x, state["mel"], final)
        new = {"mel": mel_state, "pitch": None, "waiting": None, "length": length}
        if self.pitch is None:
            return mel, new
        f0, new["pitch"] = self.pitch.step(x[:, 0], state["pitch"], final)
        f0 = f0[:, None]
        if state["waiting"] is not None:
            mel = torch.cat((state["waiting"][0], mel), dim=-1)
            f0 = torch.cat((state["waiting"][1], f0), dim=-1)
        if final:
            # Frames of the mel beyond the last one of F0 are unvoiced.
            f0 = F.pad(f0, (0, mel.shape[-1] - f0.shape[-1]))
        ready = min(mel.shape[-1], f0.shape[-1])
        new["waiting"] = (mel[..., ready:].clone(), f0[..., ready:].clone())
        return torch.cat((mel[..., :ready], f0[..., :ready]), dim=1), new
