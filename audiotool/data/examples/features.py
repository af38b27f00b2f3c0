"""Examples for vocoders: from mel frames to their speech."""

from __future__ import annotations

import numpy as np
import torch

from audiotool.data.examples.base import SPEECH, Example, Tensors
from audiotool.data.mixer import Facts
from audiotool.dsp.mel import PRESETS, mel_config
from audiotool.dsp.mel_spectrogram import MelSpectrogram
from audiotool.errors import CheckpointError, RecipeError


class Features(Example):
    """ "input" (n_mels, T / hop) as `audio.mel` defines it; "target" (1, T) clean, T a multiple of hop.

    The last frame of a centred mel, which lies beyond the waveform, is left out.
    """

    name = "features"
    needs = ("speech",)
    uses = SPEECH

    def check(self) -> None:
        super().check()
        if self.audio.mel is None:
            raise RecipeError(
                f"audio.mel is missing: name a preset ({', '.join(PRESETS)}) or give its parameters"
            )
        try:
            config = mel_config(self.audio.mel)
        except CheckpointError as error:
            raise RecipeError(f"audio.mel: {error}") from error
        if config.sample_rate != self.audio.sample_rate:
            raise RecipeError(
                f"audio.mel is defined at {config.sample_rate} Hz, audio.sample_rate is"
                f" {self.audio.sample_rate} Hz: they must be the same"
            )
        self.analysis = MelSpectrogram(config)
        self.hop_length = config.hop_length

    def build(self, rng: np.random.Generator, index: int) -> tuple[Tensors, Facts]:
        hop = self.hop_length
        track = self.mixer.speech(rng, None if self.segment is None else max(1, self.segment // hop) * hop)
        frames = max(1, len(track.samples) // hop)
        samples = np.pad(track.samples, (0, max(0, hop - len(track.samples))))[: frames * hop]
        (speech,), level = self.mixer.set_level(rng, samples)
        with torch.no_grad():
            mel = self.analysis(torch.from_numpy(speech)[None])[0, :, :frames].numpy()
        facts: Facts = {"speech": track.group, "speech_files": track.files}
        return {"input": mel, "target": speech[None]}, facts | level
