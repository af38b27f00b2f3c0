"""Examples for microphone arrays: from all channels to speech at the first microphone."""

from __future__ import annotations

import numpy as np

from audiotool.data.array_rooms import Room, microphones, responses
from audiotool.data.clips import Samples
from audiotool.data.examples.base import NOISE, SPEECH, Example, Tensors
from audiotool.data.levels import active_rms, amplitude
from audiotool.data.mixer import Facts
from audiotool.data.rooms import convolve, early_taps
from audiotool.errors import RecipeError


class Array(Example):
    """ "input" (C, T) with C = `audio.channels`; "target" (1, T): early speech at the first microphone.

    Speech and each noise have their own positions in one simulated room. Every microphone adds its own faint
    noise.
    """

    name = "array"
    needs = ("speech",)
    uses = (*SPEECH, *NOISE, "mixing.early_ms", "array.*")

    def check(self) -> None:
        if self.audio.channels < 2:
            raise RecipeError("audio.channels is 1: an array has two microphones or more")

    def build(self, rng: np.random.Generator, index: int) -> tuple[Tensors, Facts]:
        mixer, config = self.mixer, self.data.array
        rate, channels = self.audio.sample_rate, self.audio.channels
        room = Room.draw(rng, config.rt60_seconds)
        array = microphones(
            room.place(rng), channels, config.radius, config.geometry, rng.uniform(0, 2 * np.pi)
        )
        track = mixer.speech(rng, self.segment)
        of_speech = responses(rng, room, room.place(rng), array, rate)
        early = early_taps(of_speech[0], mixer.mixing.early_ms, rate)
        filters = [*(r.taps for r in of_speech), early]
        *reverberant, target = convolve(track.samples, filters, of_speech[0].direct)
        speech = np.stack(reverberant)
        snr_db = rng.uniform(*mixer.mixing.snr_db)
        noise, kinds, files = self._noise(rng, room, array, len(track.samples), track.group)
        level, of_noise = active_rms(speech[0], rate), active_rms(noise[0], rate)
        gain = (level or 1.0) * amplitude(-snr_db) / (of_noise or 1.0)
        noisy = speech + noise * np.float32(gain)
        noisy += rng.standard_normal(noisy.shape, dtype=np.float32) * np.float32((level or 1.0) * 1e-3)
        (*rows, target), of_level = mixer.set_level(rng, *noisy, target)
        facts: Facts = {
            "speech": track.group,
            "speech_files": track.files,
            "room": f"rt60 {room.rt60_seconds:.2f} s",
            "snr_db": round(snr_db, 2) if level > 0 and of_noise > 0 else None,
            "noise": kinds,
            "noise_files": files,
        }
        return {"input": np.stack(rows), "target": target[None]}, facts | of_level

    def _noise(
        self, rng: np.random.Generator, room: Room, array: np.ndarray, frames: int, speaker: str
    ) -> tuple[Samples, str, list[str]]:
        """Return one noise track from one position at all microphones, (C, T)."""
        track = self.mixer.noise(rng, frames, avoid=[speaker])
        paths = responses(rng, room, room.place(rng), array, self.audio.sample_rate)
        return convolve(track.samples, [p.taps for p in paths], paths[0].direct), track.group, track.files
