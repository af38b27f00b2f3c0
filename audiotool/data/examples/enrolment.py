"""Examples for personalised denoising: noisy speech of several people and an enrolment in, the enrolled voice
out."""

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
        own = mixer.speech(rng, frames, speed=speed)
        length = round(config.seconds * self.audio.sample_rate)
        sample = mixer.speech(rng, length, group=own.group, speed=speed).samples
        (sample,), _ = mixer.set_level(rng, sample)
        heard, wanted, room = mixer.in_room(rng, own.samples)
        absent = chance(rng, mixer.mixing.noise_only_probability)
        facts: Facts = {"speech": own.group, "speech_files": own.files, "room": room}
        level = active_rms(heard, self.audio.sample_rate)
        if absent:
            wanted = np.zeros_like(wanted)
            others = np.zeros_like(heard)
        else:
            others = heard
        if absent or chance(rng, config.competitor_probability):
            rival = mixer.speech(rng, frames, avoid=[own.group])
            rival_heard = mixer.in_room(rng, rival.samples)[0]
            rival_level = active_rms(rival_heard, self.audio.sample_rate)
            if rival_level > 0:
                ratio = (level or 1.0) / rival_level * amplitude(-rng.uniform(*config.competitor_db))
                others = others + rival_heard * np.float32(ratio)
            facts["speech"] += f"+{rival.group}"
        noise, of_noise = mixer.add_noise(rng, others, avoid=[own.group])
        (noisy, wanted), of_level = mixer.set_level(rng, others + noise, wanted)
        tensors = {
            "input": mixer.degraded(rng, noisy)[None],
            "target": wanted[None],
            "enrolment": sample[None],
        }
        return tensors, facts | of_noise | of_level
