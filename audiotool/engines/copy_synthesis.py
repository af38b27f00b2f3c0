"""Copy synthesis: a waveform is analysed into a vocoder's features, and the vocoder synthesises it again.

    waveform ── mel ──┬── vocoder ── waveform
               (F0 ──┘)

For streamers, sessions and pipelines this is an engine from waveform to waveform.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from audiotool.engines.base import Batch, Chunk, Engine, Member, Rows, State
from audiotool.errors import CheckpointError

if TYPE_CHECKING:
    from audiotool.dsp.mel import MelConfig
    from audiotool.dsp.pitch import PitchTracker


def is_vocoder(engine: Engine) -> bool:
    """Return whether an engine takes features (a mel, or a codec's) and not a waveform."""
    return engine.upsampling != 1 or engine.mel is not None


def takes_mel(vocoder: Engine) -> bool:
    """Return whether an engine takes a mel, with or without F0, into which a waveform can be analysed."""
    return vocoder.mel is not None and vocoder.input_channels == vocoder.mel.n_mels + vocoder.uses_f0


def mel_of(vocoder: Engine) -> MelConfig:
    """Return the definition of the mel that a vocoder takes.

    Raises:
        CheckpointError: it takes a codec's features, which audiotool cannot analyse.
    """
    if vocoder.mel is None or not takes_mel(vocoder):
        raise CheckpointError(
            f"this {vocoder.name} takes {vocoder.input_channels} features of a codec, not a mel:"
            " give it a file of them, not a waveform"
        )
    return vocoder.mel


class CopySynthesis(Engine):
    """A vocoder from waveform (B, 1, T) to waveform (B, 1, T).

    It is causal when the vocoder is. Otherwise its context is that of the vocoder and of the analysis
    together. If the vocoder takes F0, it is estimated from each frame independently, so that
    streamed and whole-file F0 are the same. Zeros are appended to the input until its frames cover every
    sample.

    Args:
        vocoder: an engine of features.
    Raises:
        CheckpointError: it takes a codec's features.
    """

    name = "copy-synthesis"

    def __init__(self, vocoder: Engine) -> None:
        from audiotool.dsp.mel import StreamingMel

        mel = mel_of(vocoder)
        self.vocoder = vocoder
        self.analysis = StreamingMel(mel)
        self.sample_rate = vocoder.sample_rate
        self.hop_length = vocoder.hop_length * mel.hop_length
        self.causal = vocoder.causal
        self.uses_position = vocoder.uses_position
        self.kind, self.device_name, self.parameters = vocoder.kind, vocoder.device_name, vocoder.parameters
        ahead, behind = max(mel.lookahead, self.analysis.frames.edge), mel.n_fft - 1 - mel.lookahead
        self.pitch: PitchTracker | None = None
        if vocoder.uses_f0:
            from audiotool.dsp.pitch import PitchTracker

            self.pitch = PitchTracker(mel.sample_rate, mel.hop_length)
            ahead, behind = max(ahead, self.pitch.lookahead), max(behind, self.pitch.history)
        self.latency = vocoder.latency + ahead
        # The frames of n samples are complete when so many more have come. Fed before the first hop, they let
        # each hop complete as many frames as the vocoder takes at once: none waits for others.
        beyond = max(ahead + 1 - mel.hop_length, 0)
        self.lead = beyond % self.hop_length
        self.delay = beyond + vocoder.delay
        if vocoder.context is not None:
            before, after = (frames * mel.hop_length for frames in vocoder.context)
            self.context = (before + behind + mel.hop_length - 1, after + ahead)

    def process(self, x: Chunk, level: Any = None, position: int = 0, **conditions: Any) -> Chunk:
        """Analyse and vocode a waveform: (B, 1, T) -> (B, 1, T).

        Args:
            level: ignored.
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

    def start(self, level: Any = None, **conditions: Any) -> State:
        return {**self._begin(), "vocoder": self.vocoder.start(**conditions)}

    def step(self, x: Chunk, state: State = None, final: bool = False) -> tuple[Chunk, State]:
        state = self.start() if state is None else state
        features, new = self._features(x, state, final)
        y, new["vocoder"] = self.vocoder.step(features, state["vocoder"], final)
        return y, new

    def batch(self, capacity: int) -> Batch:
        return _CopySynthesisBatch(self, capacity)

    def pack(self, state: State) -> Any:
        held, *counts = state["pitch"] or (None,)
        pitch = None if held is None else (held.numpy().copy(), *counts)
        return {**state, "pitch": pitch, "vocoder": self.vocoder.pack(state["vocoder"])}

    def unpack(self, value: Any) -> State:
        pitch = value["pitch"]
        if pitch is not None:
            import torch

            pitch = (torch.from_numpy(pitch[0].copy()), *pitch[1:])
        return {**value, "pitch": pitch, "vocoder": self.vocoder.unpack(value["vocoder"])}

    def padded_length(self, length: int) -> int:
        """Return the length to which `length` samples are padded, so that the vocoder's output covers them
        all."""
        hop = self.vocoder.upsampling
        padded = -(-length // hop) * hop
        while self.vocoder.output_length(self.analysis.config.frames(padded)) < length:
            padded += hop
        return padded

    @staticmethod
    def _begin() -> dict[str, Any]:
        return {"mel": None, "pitch": None, "waiting": None, "length": 0}

    def _features(self, x: Chunk, state: dict[str, Any], final: bool) -> tuple[Chunk, dict[str, Any]]:
        """Return the complete frames, (B, input_channels, frames), and the state of the analysis."""
        length = state["length"] + x.shape[-1]
        samples = x[:, 0]
        if final:
            samples = np.pad(samples, ((0, 0), (0, self.padded_length(length) - length)))
        mel, mel_state = self.analysis.step(samples, state["mel"], final)
        new = {"mel": mel_state, "pitch": None, "waiting": None, "length": length}
        if self.pitch is None:
            return mel, new
        f0, new["pitch"] = _track(self.pitch, samples, state["pitch"], final)
        if state["waiting"] is not None:
            mel = np.concatenate((state["waiting"][0], mel), axis=-1)
            f0 = np.concatenate((state["waiting"][1], f0), axis=-1)
        if final:
            # Frames of the mel beyond the last one of F0 are unvoiced.
            f0 = np.pad(f0, ((0, 0), (0, 0), (0, max(0, mel.shape[-1] - f0.shape[-1]))))
        ready = min(mel.shape[-1], f0.shape[-1])
        new["waiting"] = (mel[..., ready:].copy(), f0[..., ready:].copy())
        return np.concatenate((mel[..., :ready], f0[..., :ready]), axis=1), new


class _CopySynthesisBatch(Batch):
    """Streams that are analysed one by one and vocoded together."""

    engine: CopySynthesis

    def __init__(self, engine: CopySynthesis, capacity: int) -> None:
        super().__init__(engine, capacity)
        self._vocoders = engine.vocoder.batch(capacity)
        self._analyses: dict[Rows, dict[str, Any]] = {}

    def remove(self, rows: Rows) -> None:
        super().remove(rows)
        self._vocoders.remove(rows)
        self._analyses.pop(rows, None)

    def _insert(self, rows: Rows, state: State) -> bool:
        self._analyses[rows] = dict(state)
        self._vocoders.insert(rows, self._analyses[rows].pop("vocoder"))
        return True

    def _extract(self, rows: Rows) -> State:
        return {**self._analyses[rows], "vocoder": self._vocoders.extract(rows)}

    def _step(self, members: Sequence[Member]) -> dict[Rows, Chunk]:
        vocoder, whole, outputs = self.engine.vocoder, [], {}
        for rows, x in members:
            features, self._analyses[rows] = self.engine._features(x, self._analyses[rows], False)
            if features.shape[-1] == vocoder.hop_length:
                whole.append((rows, features))
                continue
            # At a stream's beginning the frames of a hop may not be complete yet.
            outputs[rows], state = vocoder.step(features, self._vocoders.extract(rows))
            self._vocoders.insert(rows, state)
        if whole:
            outputs.update(zip((rows for rows, _ in whole), self._vocoders.step(whole), strict=True))
        return outputs


def _track(tracker: PitchTracker, samples: Chunk, state: Any, final: bool) -> tuple[Chunk, Any]:
    """Return F0 in Hz, (B, 1, frames). Only vocoders that run in PyTorch take it."""
    import torch

    with torch.inference_mode():
        f0, state = tracker.step(torch.from_numpy(np.array(samples)), state, final)
    return f0[:, None].numpy(), state
