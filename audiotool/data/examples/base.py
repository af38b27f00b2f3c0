"""Kinds of training examples: found by name, one file each."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from fnmatch import fnmatchcase
from typing import ClassVar

import numpy as np

from audiotool.data.augment import chance
from audiotool.data.clips import Samples
from audiotool.data.config import AudioConfig, DataConfig, Kind, Split
from audiotool.data.material import Material
from audiotool.data.mixer import Facts, Mixer
from audiotool.discovery import Catalogue
from audiotool.errors import RecipeError

Tensors = dict[str, Samples]
"""The arrays of an example by name: "input" (C, T), "target" (S * C, T) and others, numpy float32."""

MORE_SPEAKERS = "edit the column `split` of the manifest, or find more speakers with --speaker-pattern"
"""What to do where a split has too few speakers."""

TRAINING_SECTIONS = ("mixing", "augmentation", "narrow_band", "mixture", "enrolment", "array")

# The keys of `data` that the steps of the mixer use, as shell patterns.
SPEECH = ("augmentation.speed*", "augmentation.formant*", "augmentation.equalisation*", "mixing.level_dbfs")
ROOM = ("mixing.reverberation*", "mixing.early_ms")
NOISE = (
    *("mixing.snr_db", "mixing.noises", "mixing.babble*", "mixing.envelope_db", "mixing.synthetic"),
    *("mixing.noise_reverberation_probability", "augmentation.noise_speed"),
)
DEGRADED = ("augmentation.clipping*", "augmentation.codec_probability", "augmentation.packet_loss*")


class Example(ABC):
    """Base class of all kinds of examples.

    Class attributes:
        name: name of the kind, see `Task.example`.
        needs: required kinds of data (unless pairs are given and `uses_pairs`).
        uses_pairs: whether `data.pairs` can replace mixing.
        uses: shell patterns of the keys of `data`'s sections that have an effect.
        uses_in_training: those of the keys that have an effect on training alone.

    Args:
        material: the recordings of the split.
        data, audio: the recipe's sections.
        split: "train" mixes and augments as for training, others as for evaluation.
    Raises:
        RecipeError: the recipe's channels or sample rates do not fit this kind.
    """

    name: ClassVar[str]
    needs: ClassVar[tuple[Kind, ...]] = ("speech",)
    uses_pairs: ClassVar[bool] = False
    uses: ClassVar[tuple[str, ...]] = ("*",)
    uses_in_training: ClassVar[tuple[str, ...]] = ()

    def __init__(self, material: Material, data: DataConfig, audio: AudioConfig, split: Split) -> None:
        self.material = material
        self.data = data
        self.audio = audio
        self.split = split
        self.training = split == "train"
        self.mixer = Mixer(material, data, audio, self.training)
        self.check()

    def check(self) -> None:
        """Check that the recipe fits this kind. By default it must have one channel."""
        if self.audio.channels != 1:
            raise RecipeError(
                f"audio.channels is {self.audio.channels}: examples of '{self.name}' have one; a microphone"
                " array is the example 'array'"
            )

    @abstractmethod
    def build(self, rng: np.random.Generator, index: int) -> tuple[Tensors, Facts]:
        """Make one example.

        Args:
            rng: generator of all random numbers.
            index: index of the example; chooses the pair of an evaluation.
        Returns:
            Arrays by name, and facts of them for listings.
        Raises:
            Unreadable: a recording cannot be read; the data set then draws another.
        """

    @classmethod
    def unused_keys(cls, data: DataConfig, training: bool) -> list[str]:
        """Return the keys whose values differ from the defaults without an effect on this kind; a value of 0
        asks for none."""
        found = []
        patterns = cls.uses + cls.uses_in_training if training else cls.uses
        for name in TRAINING_SECTIONS if training else ("evaluation",):
            section = getattr(data, name)
            default = type(section)()
            for key in type(section).model_fields:
                # An evaluation is mixed as a training is.
                place = f"{'mixing' if name == 'evaluation' else name}.{key}"
                used = any(fnmatchcase(place, pattern) for pattern in patterns)
                value = getattr(section, key)
                if not used and value and value != getattr(default, key):
                    found.append(f"data.{name}.{key}")
        return found

    @property
    def segment(self) -> int | None:
        """Length of an example in samples; None where each has that of a whole recording."""
        seconds = self.audio.segment_seconds
        return None if seconds is None else round(seconds * self.audio.sample_rate)

    def frames(self, rng: np.random.Generator) -> int:
        """Return the length of an example without speech: the segment's, or that of a recording."""
        if self.segment is not None:
            return self.segment
        pool = self.material.speech
        assert pool is not None
        return int(pool.clips.lengths[pool.draw(rng, pool.draw_group(rng))])

    def draws_pair(self, rng: np.random.Generator) -> bool:
        """Return whether an example is one of the pairs, and not mixed."""
        if self.material.pairs is None:
            return False
        return self.material.speech is None or chance(rng, self.data.pairs_probability)

    def pair(self, rng: np.random.Generator, index: int) -> tuple[Samples, Samples, Facts]:
        """Return input (T,) and targets (S, T) of a pair, and its facts. Training draws a pair, evaluation
        takes them in order."""
        pairs = self.material.pairs
        if pairs is None or not pairs.usable:
            raise RecipeError("data.pairs: no pair of this split can be read")
        usable = pairs.usable
        chosen = usable[int(rng.integers(len(usable)))] if self.training else usable[index % len(usable)]
        length = int(pairs.inputs.lengths[chosen])
        frames = length if self.segment is None else self.segment
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

    def most(self) -> int | None:
        """Return the number of examples after which an evaluation repeats itself; None where it does not.

        Of pairs that are all longer than an example, another part is drawn each time; with one that is not,
        each pair counts once.
        """
        pairs = self.material.pairs
        if self.training or pairs is None or self.material.speech is not None:
            return None
        frames = math.inf if self.segment is None else self.segment
        return None if (pairs.inputs.lengths[pairs.usable] > frames).all() else len(pairs.usable)

    def count(self) -> int:
        """Return the number of examples in one pass over the material."""
        pairs, speech = self.material.pairs, self.material.speech
        if speech is None:
            return len(pairs.usable) if pairs else 0
        return len(speech) if self.segment is None else max(1, round(speech.frames / self.segment))


EXAMPLES: Catalogue[Example] = Catalogue("audiotool.data.examples", Example, "kind of example", RecipeError)
