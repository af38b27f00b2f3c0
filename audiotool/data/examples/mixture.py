"""Examples for speaker separation: several speakers at once in, one stem a speaker out."""

from __future__ import annotations

import numpy as np

from audiotool.data.augment import chance, fades, sometimes
from audiotool.data.clips import Samples
from audiotool.data.examples.base import MORE_SPEAKERS, NOISE, ROOM, SPEECH, Example, Tensors
from audiotool.data.levels import active_rms, amplitude
from audiotool.data.mixer import Facts
from audiotool.errors import RecipeError

EDGE_SECONDS = 0.02


class Mixture(Example):
    """ "input" (1, T) the sum; "target" (speakers, T), one row a speaker at its level in the sum.

    The speakers of a mixture are different people, those that the manifest names. With pairs (LibriMix),
    their targets are the rows. A mixture of whole recordings is as long as that of its first voice.
    """

    name = "mixture"
    needs = ("speech",)
    uses_pairs = True
    uses = (*SPEECH, *ROOM, *NOISE, "mixture.*")

    def check(self) -> None:
        super().check()
        wanted, speech, pairs = self.data.mixture.speakers, self.material.speech, self.material.pairs
        if pairs and len(pairs.targets) != wanted:
            raise RecipeError(
                f"data.mixture.speakers is {wanted}, but the pairs have {len(pairs.targets)} targets"
            )
        if speech and len(speech.groups) < wanted:
            raise RecipeError(
                f"data.mixture.speakers is {wanted}, but the '{self.split}' split has {len(speech.groups)}"
                f" ({', '.join(speech.groups)}): {MORE_SPEAKERS}"
            )

    def build(self, rng: np.random.Generator, index: int) -> tuple[Tensors, Facts]:
        if self.draws_pair(rng):
            mixture, stems, facts = self.pair(rng, index)
            return {"input": mixture[None], "target": stems}, facts
        return self._mixed(rng)

    def _mixed(self, rng: np.random.Generator) -> tuple[Tensors, Facts]:
        config, frames = self.data.mixture, self.segment
        stems: list[Samples] = []
        heard: list[Samples] = []
        speakers: list[str] = []
        files: list[str] = []
        rooms: list[str] = []
        for _ in range(self._speaking(rng)):
            track = self.mixer.speech(rng, frames, avoid=speakers)
            frames = len(track.samples)
            speakers.append(track.group)
            files += track.files
            reverberant, target, room = self.mixer.in_room(rng, self._partly(rng, track.samples))
            rooms.append(room)
            level = active_rms(reverberant, self.audio.sample_rate)
            difference_db = rng.uniform(-0.5, 0.5) * config.level_difference_db
            gain = np.float32(amplitude(difference_db) / level if level > 0 else 0)
            stems.append(target * gain)
            heard.append(reverberant * gain)
        total: Samples = np.sum(heard, axis=0)
        stems += [np.zeros_like(total)] * (config.speakers - len(stems))
        facts: Facts = {"speech": "+".join(speakers), "speech_files": files}
        if any(rooms):
            facts["room"] = "+".join(rooms)
        if chance(rng, config.noise_probability):
            noise, of_noise = self.mixer.add_noise(rng, total, avoid=speakers)
            total, facts = total + noise, facts | of_noise
        (total, *rows), level_facts = self.mixer.set_level(rng, total, *stems)
        return {"input": total[None], "target": np.stack(rows)}, facts | level_facts

    def _speaking(self, rng: np.random.Generator) -> int:
        """Draw how many of the voices speak."""
        return 1 if sometimes(rng, self.data.mixture.single_probability) else self.data.mixture.speakers

    def _partly(self, rng: np.random.Generator, samples: Samples) -> Samples:
        """Keep one part of the segment, at its beginning, its end or in between, maybe with a pause in it."""
        length = int(rng.uniform(*self.data.mixture.overlap) * len(samples))
        start = int(rng.integers(len(samples) - length + 1))
        gains = np.zeros_like(samples)
        for begin, end in self._spoken(rng, start, start + length):
            gains[begin:end] = fades(end - begin, int(EDGE_SECONDS * self.audio.sample_rate))
        return samples * gains

    def _spoken(self, rng: np.random.Generator, begin: int, end: int) -> list[tuple[int, int]]:
        """Leave a pause out of a part, or keep it as it is: (first, last + 1) of what stays."""
        config = self.data.mixture
        if not sometimes(rng, config.pause_probability):
            return [(begin, end)]
        pause = int(rng.uniform(*config.pause_seconds) * self.audio.sample_rate)
        if pause >= end - begin:
            return [(begin, end)]
        start = int(rng.integers(begin, end - pause + 1))
        return [(begin, start), (start + pause, end)]
