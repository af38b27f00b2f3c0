"""Examples for denoising: from noisy speech to clean speech, mixed on the fly or taken from pairs."""

from __future__ import annotations

import math

import numpy as np

from audiotool.data.examples.base import Example, Tensors
from audiotool.data.levels import snr_db
from audiotool.data.mixer import Facts
from audiotool.errors import RecipeError


class Noisy(Example):
    """ "input" (1, T) noisy; "target" (1, T) clean speech at the level it has in the input.

    With reverberation, `mixing.reverberation_target` selects the part of it that the target keeps. Some
    examples have no speech (target zero), some no noise.
    """

    name = "noisy"
    needs = ("speech",)
    uses_pairs = True
    uses = ("mixing.*", "augmentation.*")

    def check(self) -> None:
        super().check()
        mixing = self.mixer.mixing
        recorded = self.material.noise is not None
        if self.material.speech is not None and not recorded and not mixing.synthetic.probability:
            key = "mixing" if self.training else "evaluation"
            raise RecipeError(
                f"data.noise is empty and data.{key}.synthetic.probability is 0: there is no noise to add"
            )

    def build(self, rng: np.random.Generator, index: int) -> tuple[Tensors, Facts]:
        if self.draws_pair(rng):
            noisy, targets, facts = self.pair(rng, index)
            return {"input": noisy[None], "target": targets[:1]}, facts
        return self._mixed(rng)

    def _mixed(self, rng: np.random.Generator) -> tuple[Tensors, Facts]:
        mixer, mixing = self.mixer, self.mixer.mixing
        choice = rng.random()
        facts: Facts = {"speech": "", "speech_files": [], "room": ""}
        bandwidth_hz, alone = math.inf, False
        if choice < mixing.noise_only_probability:
            speech = target = np.zeros(self.frames(rng), np.float32)
        else:
            track = mixer.speech(rng, self.segment)
            samples, alone = mixer.islands(rng, track.samples)
            speech, target, room = mixer.in_room(rng, samples)
            facts = {"speech": track.group, "speech_files": track.files, "room": room}
            bandwidth_hz = track.bandwidth_hz
        clean_from = mixing.noise_only_probability
        if alone or clean_from <= choice < clean_from + mixing.clean_only_probability:
            # Without noise the target is the input, reverberation included.
            noise, target = np.zeros_like(speech), speech
        else:
            noise, of_noise = mixer.add_noise(rng, speech, avoid=[facts["speech"]])
            facts = facts | of_noise
        noise, (speech, target) = mixer.lead_in(rng, noise, speech, target)
        parts = mixer.level_jump(rng, speech + noise, target, speech)
        noisy, target, speech = mixer.limit_band(rng, *parts, bandwidth_hz=bandwidth_hz)
        # Measured, because a lead-in, a jump and a band limit change the SNR that was drawn. All are linear:
        # the noise is what the speech leaves.
        facts["snr_db"] = snr_db(speech, noisy - speech, self.audio.sample_rate)
        (noisy, target), level = mixer.set_level(rng, noisy, target)
        return {"input": mixer.degraded(rng, noisy)[None], "target": target[None]}, facts | level
