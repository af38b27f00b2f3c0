"""Examples for personalised denoising: from noisy speech of several people and an enrolment to the enrolled
voice."""

from __future__ import annotations

import numpy as np

from audiotool.data.augment import chance
from audiotool.data.examples.base import Example, Tensors
from audiotool.data.levels import active_rms, amplitude
from audiotool.data.mixer import Facts
from audiotool.errors import RecipeError


class Enrolment(Example):
    """ "input" (1, T), "target" (1, T) the enrolled speaker, "enrolment" (1, T') other words of that speaker.

    With the probability `mixing.noise_only_probability` the enrolled speaker is silent. The target is then
    zero, although others may speak.
    """

    name = "enrolment"
    needs = ("speech",)

    def check(self) -> None:
        super().check()
        speech = self.material.speech
        if speech is None or len(speech.groups) < 2:
            raise RecipeError("data.speech: personalised examples need two speakers or more in each split")

    def build(self, rng: np.random.Generator, index: int) -> tuple[Tensors, Facts]:
        mixer, config, frames = self.mixer, self.data.enrolment, self.frames(rng)
        # Both have the same speed, because speed changes the voice.
        speed = mixer.draw_speech_speed(rng)
        track = mixer.speech(rng, frames, speed=speed)
        length = round(config.seconds * self.audio.sample_rate)
        sample = mixer.speech(rng, length, group=track.group, speed=speed).samples
        (sample,), _ = mixer.set_level(rng, sample)
        reverberant, target, room = mixer.in_room(rng, track.samples)
        absent = chance(rng, mixer.mixing.noise_only_probability)
        facts: Facts = {"speech": track.group, "speech_files": track.files, "room": room}
        level = active_rms(reverberant, self.audio.sample_rate)
        if absent:
            target = np.zeros_like(target)
            voices = np.zeros_like(reverberant)
        else:
            voices = reverberant
        if absent or chance(rng, config.competitor_probability):
            competitor = mixer.speech(rng, frames, avoid=[track.group])
            competing = mixer.in_room(rng, competitor.samples)[0]
            competing_level = active_rms(competing, self.audio.sample_rate)
            if competing_level > 0:
                ratio = (level or 1.0) / competing_level * amplitude(-rng.uniform(*config.competitor_db))
                voices = voices + competing * np.float32(ratio)
            facts["speech"] += f"+{competitor.group}"
        noise, of_noise = mixer.add_noise(rng, voices, avoid=[track.group])
        (noisy, target), of_level = mixer.set_level(rng, voices + noise, target)
        tensors = {
            "input": mixer.degraded(rng, noisy)[None],
            "target": target[None],
            "enrolment": sample[None],
        }
        return tensors, facts | of_noise | of_level
