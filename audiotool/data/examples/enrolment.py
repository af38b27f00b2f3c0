"""Examples for personalised denoising: from noisy speech of several people and an enrolment to the enrolled
voice."""

from __future__ import annotations

import numpy as np

from audiotool.data.augment import chance
from audiotool.data.examples.base import DEGRADED, MORE_SPEAKERS, NOISE, ROOM, SPEECH, Example, Tensors
from audiotool.data.levels import active_rms, amplitude
from audiotool.data.mixer import Facts
from audiotool.errors import RecipeError


class Enrolment(Example):
    """ "input" (1, T), "target" (1, T) the enrolled speaker, "enrolment" (1, T') other recordings of that
    speaker.

    With the probability `mixing.noise_only_probability` the enrolled speaker is silent. The target is then
    zero, although others may speak. Facts name those who speak (`speech`, `speech_files`) and the enrolled
    speaker (`enrolled`, `enrolment_files`); `enrolled_speaks` says whether that is one of them.

    A speaker with one recording alone is never enrolled, because the target and the enrolment would be the
    same words.
    """

    name = "enrolment"
    needs = ("speech",)
    uses = (*SPEECH, *ROOM, *NOISE, *DEGRADED, "mixing.noise_only_probability", "enrolment.*")

    def check(self) -> None:
        super().check()
        speech = self.material.speech
        if speech is None or len(speech.groups) < 2:
            there = ", ".join(speech.groups) if speech else "none"
            raise RecipeError(
                "data.speech: personalised examples need two speakers or more, but the"
                f" '{self.split}' split has fewer ({there}): {MORE_SPEAKERS}"
            )
        self.speech = speech
        self.never = [group for group in speech.groups if len(speech.files(group)) < 2]
        if len(self.never) == len(speech.groups):
            raise RecipeError(
                "data.speech: personalised examples need a speaker with two recordings or more, and the"
                f" '{self.split}' split has none: one is heard, the other enrolled; cut long"
                " recordings in two"
            )

    def build(self, rng: np.random.Generator, index: int) -> tuple[Tensors, Facts]:
        mixer, config = self.mixer, self.data.enrolment
        # Both have the same speed and resonances, because these change the voice.
        speed, formants = mixer.draw_speech_speed(rng), mixer.draw_formants(rng)
        speaker = self.speech.draw_group(rng, avoid=self.never)
        # One recording is kept for the enrolment, which may have any that the target has not.
        kept = str(self.speech.entries[self.speech.draw(rng, speaker)].path)
        track = mixer.speech(rng, self.segment, (), speaker, speed, formants, [kept])
        frames = len(track.samples)
        length = round(config.seconds * self.audio.sample_rate)
        enrolled = mixer.speech(rng, length, (), speaker, speed, formants, track.files)
        (sample,), _ = mixer.set_level(rng, enrolled.samples)
        reverberant, target, room = mixer.in_room(rng, track.samples)
        level = active_rms(reverberant, self.audio.sample_rate)
        voices, speaking = reverberant, [track]
        absent = chance(rng, mixer.mixing.noise_only_probability)
        if absent:
            voices, target, speaking = np.zeros_like(voices), np.zeros_like(target), []
        if absent or chance(rng, config.competitor_probability):
            competitor = mixer.speech(rng, frames, avoid=[speaker])
            competing = mixer.in_room(rng, competitor.samples)[0]
            competing_level = active_rms(competing, self.audio.sample_rate)
            if competing_level > 0:
                ratio = (level or 1.0) / competing_level * amplitude(-rng.uniform(*config.competitor_db))
                voices = voices + competing * np.float32(ratio)
                speaking.append(competitor)
        facts: Facts = {
            "speech": "+".join(voice.group for voice in speaking),
            "speech_files": [file for voice in speaking for file in voice.files],
            "room": room,
            "enrolled": speaker,
            "enrolled_speaks": not absent,
            "enrolment_files": enrolled.files,
        }
        noise, of_noise = mixer.add_noise(rng, voices, avoid=[speaker])
        (noisy, target), of_level = mixer.set_level(rng, voices + noise, target)
        tensors = {
            "input": mixer.degraded(rng, noisy)[None],
            "target": target[None],
            "enrolment": sample[None],
        }
        return tensors, facts | of_noise | of_level
