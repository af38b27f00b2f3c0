"""Public corpora as they unpack: one file each, found by name. Nothing is downloaded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from audiotool.data.entry import Entry
from audiotool.data.pairs import mismatch
from audiotool.data.scan import Scan, scan
from audiotool.discovery import Catalogue
from audiotool.errors import InputError
from audiotool.progress import Progress
from audiotool.text import composed


class Corpus(ABC):
    """Base of all corpora.

    Class attributes:
        name: name on the command line.
        source: name in the list of sources and licences.
        licence: of its recordings.
        parts: the alternatives that `part` chooses from, the default first; empty when there are none.
        layout: required contents of the folder, for messages.
    """

    name: ClassVar[str]
    source: ClassVar[str]
    licence: ClassVar[str]
    parts: ClassVar[tuple[str, ...]] = ()
    layout: ClassVar[str]

    @abstractmethod
    def prepare(self, folder: Path, part: str, progress: Progress | None) -> Scan:
        """Make a manifest of an unpacked corpus.

        Args:
            folder: where the corpus was unpacked.
            part: one of `parts`, "" where there are none.
            progress: called while headers are read.
        Raises:
            InputError: a necessary part of the corpus is missing, or pairs do not match.
        """

    def missing(self, folder: Path, what: str) -> InputError:
        """Return the error for a missing part of the corpus."""
        return InputError(f"{folder}: {self.name} needs {what}, which is not there; expected: {self.layout}")

    def pairs(self, inputs: Path, targets: Sequence[Path], split: str, progress: Progress | None) -> Scan:
        """Return the pairs of files with the same relative path in several folders.

        Raises:
            InputError: a file has no partner, or the partner's rate or length differ.
        """
        found = scan(
            inputs, "pair", split="train", source=self.source, licence=self.licence, progress=progress
        )
        partners = [
            {_name_in(t, e): e for e in scan(t, "speech", progress=progress).entries} for t in targets
        ]
        entries = []
        for entry in found.entries:
            relative = _name_in(inputs, entry)
            for folder, there in zip(targets, partners, strict=True):
                if relative not in there:
                    raise InputError(
                        f"{entry.path} has no readable partner {folder / relative}: unpack the corpus again"
                    )
                if reason := mismatch(entry, there[relative]):
                    raise InputError(reason)
            paths = tuple(there[relative].path for there in partners)
            entries.append(replace(entry, targets=paths, split=split))
        for folder, there in zip(targets, partners, strict=True):
            alone = there.keys() - {_name_in(inputs, e) for e in found.entries}
            if alone:
                raise InputError(
                    f"{folder / min(alone)} has no readable partner in {inputs}"
                    f" ({len(alone)} such files): unpack the corpus again"
                )
        return Scan(entries, found.unreadable)


def _name_in(folder: Path, entry: Entry) -> str:
    """Return the relative path that the partners of a file have too."""
    return composed(entry.path.relative_to(folder.resolve()).as_posix())


CORPORA: Catalogue[Corpus] = Catalogue("audiotool.data.corpora", Corpus, "corpus", InputError)
