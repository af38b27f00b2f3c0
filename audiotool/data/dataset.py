"""Examples by index: a map-style data set that does not depend on the number of loader processes."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from audiotool.data.clips import Unreadable
from audiotool.data.config import AudioConfig, DataConfig, Split
from audiotool.data.examples.base import EXAMPLES, Example
from audiotool.data.material import open_material
from audiotool.data.mixer import Facts
from audiotool.errors import InputError, RecipeError
from audiotool.progress import Progress

log = logging.getLogger(__name__)
ATTEMPTS = 20  # recordings tried for one example before the material is called unusable


class ExampleDataset(Dataset[dict[str, Tensor]]):
    """Data set whose example i depends on (seed, split, i) alone.

    If a recording cannot be read, the example is drawn again from (seed, split, i, attempt), so it is still
    the same for any number of workers. `skipped` names such files and counts them over all loader processes.

    Args:
        example: builds one example.
        split: part of the seed, so that splits differ.
        seed: of the recipe.
        length: number of examples; a larger index raises IndexError.
    """

    def __init__(self, example: Example, split: Split, seed: int, length: int) -> None:
        self.example = example
        self.split = split
        self.seed = seed
        self.length = length
        self._slots = {str(path): slot for slot, path in enumerate(example.material.paths)}
        # In shared memory: loader processes count, the training process reads.
        self._counts = torch.zeros(len(self._slots), dtype=torch.int32).share_memory_()

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self.with_facts(index)[0]

    def with_facts(self, index: int) -> tuple[dict[str, Tensor], Facts]:
        """Return example `index`, and facts of it (speech, noise, files, SNR, level, room).

        Raises:
            InputError: twenty recordings in a row cannot be read.
        """
        if not 0 <= index < self.length:
            raise IndexError(f"example {index} of {self.length}")
        reason: Unreadable | None = None
        for attempt in range(ATTEMPTS):
            rng = np.random.default_rng([self.seed, zlib.crc32(self.split.encode()), index, attempt])
            try:
                arrays, facts = self.example.build(rng, index)
            except Unreadable as error:
                reason = error
                self._skip(error)
                continue
            return {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in arrays.items()}, facts
        raise InputError(f"{ATTEMPTS} recordings in a row cannot be read; the last: {reason}")

    def _skip(self, error: Unreadable) -> None:
        slot = self._slots[str(error.path)]
        if not self._counts[slot]:
            log.warning("skipped: %s", error)
        self._counts[slot] += 1

    @property
    def skipped(self) -> dict[str, int]:
        """Return the files that cannot be read, and how often each was drawn; 0 for files known from the
        beginning."""
        counted = {path: int(self._counts[slot]) for path, slot in self._slots.items() if self._counts[slot]}
        return dict.fromkeys(self.example.material.unreadable, 0) | counted


def make_dataset(
    data: DataConfig,
    audio: AudioConfig,
    example: str,
    split: Split,
    length: int | None = None,
    progress: Progress | None = None,
) -> ExampleDataset:
    """Open a recipe's data for one split.

    Args:
        data: located (absolute paths), or relative to the current folder.
        audio: sample rate, segment and channels.
        example: the task's kind of example ("noisy", "mixture", ...); `data.example` overrides it.
        split: "train", "valid" or "test".
        length: number of examples, which an evaluation of fewer pairs does not reach; None is one pass over
            the material.
        progress: called while recordings are decoded for the first time.
    Raises:
        RecipeError: a manifest is missing, a split is empty, or the example cannot be made from the recipe.
        InputError: nothing in a manifest can be decoded, pairs do not match, the cache cannot be written.
    """
    kind = EXAMPLES.get(data.example or example)
    data = data.located(Path())
    if data.pairs and not kind.uses_pairs:
        raise RecipeError(f"data.pairs: examples of '{kind.name}' take no pairs: leave it empty")
    if unused := kind.unused_keys(data, split == "train"):
        log.warning("examples of '%s' do not use %s", kind.name, ", ".join(unused))
    pairs_only = bool(data.pairs) and not data.speech
    material = open_material(data, audio, split, ("pairs",) if pairs_only else kind.needs, progress)
    built = kind(material, data, audio, split)
    count = built.count() if length is None else length
    most = built.most()
    if most is not None and most < count:
        log.warning(
            "data.pairs: each pair of '%s' counts once, because some are no longer than an example: the set"
            " has %d in place of %d",
            split,
            most,
            count,
        )
        count = most
    if count < 1:
        raise RecipeError(f"the '{split}' split has no examples")
    return ExampleDataset(built, split, data.seed, count)


def render(
    dataset: ExampleDataset, indices: Iterable[int]
) -> Iterator[tuple[dict[str, Tensor], dict[str, Any]]]:
    """Yield examples and their facts: a fixed set for validation or for writing to disk."""
    for index in indices:
        example, facts = dataset.with_facts(index)
        yield example, {"index": index, "seed": dataset.seed, **facts}
