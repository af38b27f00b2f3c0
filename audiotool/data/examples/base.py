"""What one training example is made of: found by name, one file each."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from audiotool.data.clips import Samples
from audiotool.data.config import AudioConfig, DataConfig, Kind
from audiotool.data.material import Material
from audiotool.data.mixer import Facts, Mixer
from audiotool.discovery import Catalogue
from audiotool.errors import RecipeError

Tensors = dict[str, Samples]
"""What an example holds: "input" (C, T), "target" (S * C, T) and more by name, numpy float32."""


class Example:
    """Base of all examples.

    Class attributes:
        name: what a task calls it.
        needs: the kinds of data it cannot do without (unless pairs are given and `uses_pairs`).
        uses_pairs: True when `data.pairs` can take the place of mixing.

    Args:
        material: what the split holds.
        data, audio: the recipe's sections.
        training: mixing and augmentation of training, else of evaluation.
    Raises:
        RecipeError: the recipe asks for what this example cannot be (channels, rates).
    """

    name: ClassVar[str]
    needs: ClassVar[tuple[Kind, ...]] = ("speech",)
    uses_pairs: ClassVar[bool] = False

    def __init__(self, material: Material, data: DataConfig, audio: AudioConfig, training: bool) -> None:
        self.material = material
        self.data = data
        self.audio = audio
        self.training = training
        self.mixer = Mixer(material, data, audio, training)
        self.check()

    def check(self) -> None:
        """Refuse a recipe this example cannot serve. By default: more than one channel."""
        if self.audio.channels != 1:
            raise RecipeError(
                f"audio.channels is {self.audio.channels}: examples of '{self.name}' have one; a microphone"
                " array is the example 'array'"
            )

    def build(self, rng: np.random.Generator, index: int) -> tuple[Tensors, Facts]:
        """Make one example.

        Args:
            rng: everything random comes from it.
            index: of the example; chooses the recording where whole recordings are taken.
        Returns:
            arrays by name, and what they are made of (for listings).
        Raises:
            Unreadable: a recording cannot be read; the data set draws another.
        """
        raise NotImplementedError

    def frames(self, rng: np.random.Generator) -> int:
        """Samples of an example: the segment's, or those of a recording drawn like one."""
        if self.audio.segment_seconds is not None:
            return round(self.audio.segment_seconds * self.audio.sample_rate)
        pool = self.material.speech
        if pool is None:
            raise RecipeError("audio.segment_seconds is null, which needs data.speech to take lengths from")
        return int(pool.clips.lengths[pool.draw(rng, pool.draw_group(rng))])

    def pair(self, rng: np.random.Generator, index: int) -> tuple[Samples, Samples, Facts]:
        """(T,) input, (S, T) targets of a pair, and what it is: training draws, evaluation goes in order."""
        pairs = self.material.pairs
        if pairs is None or not pairs.usable:
            raise RecipeError("data.pairs: no pair of this split can be read")
        usable = pairs.usable
        chosen = usable[int(rng.integers(len(usable)))] if self.training else usable[index % len(usable)]
        length = int(pairs.inputs.lengths[chosen])
        whole = self.audio.segment_seconds is None
        frames = length if whole else self.frames(rng)
        start = int(rng.integers(length - frames + 1)) if length > frames else 0
        noisy, targets = pairs.read(chosen, start, frames)
        entry = pairs.entries[chosen]
        return (
            noisy,
            targets,
            {
                "speech": entry.group,
                "speech_files": [str(t) for t in entry.targets],
                "noise_files": [str(entry.path)],
            },
        )

    def count(self) -> int:
        """Examples in one pass over the material."""
        pairs, speech = self.material.pairs, self.material.speech
        if speech is None:
            return len(pairs.usable) if pairs else 0
        if self.audio.segment_seconds is None:
            return len(speech)
        return max(1, round(speech.frames / (self.audio.segment_seconds * self.audio.sample_rate)))


EXAMPLES: Catalogue[Example] = Catalogue("audiotool.data.examples", Example, "kind of example", RecipeError)
