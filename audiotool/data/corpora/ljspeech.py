"""LJ Speech: Ito, Johnson, The LJ Speech Dataset, 2017, https://keithito.com/LJ-Speech-Dataset."""

from __future__ import annotations

from pathlib import Path

from audiotool.data.corpora.base import Corpus
from audiotool.data.scan import Scan, assign_splits, scan
from audiotool.progress import Progress


class LJSpeech(Corpus):
    name = "ljspeech"
    source = "LJSpeech-1.1"
    licence = "public-domain"
    layout = "wavs/LJ001-0001.wav and so on, 13100 files"
    files = 13100

    def prepare(self, folder: Path, part: str, progress: Progress | None) -> Scan:
        root = folder if (folder / "wavs").is_dir() else folder / "LJSpeech-1.1"
        if not (root / "wavs").is_dir():
            raise self.missing(folder, "wavs/")
        found = scan(
            root / "wavs",
            group=lambda path: "lj",
            split="train",
            source=self.source,
            licence=self.licence,
            progress=progress,
        )
        # There is only one speaker, so files are held back: 1 % each.
        found.entries = assign_splits(found.entries, "auto", {"valid": 0.01, "test": 0.01})
        if len(found.entries) != self.files:
            found.notes.append(f"{len(found.entries)} of {self.files} files are there")
        return found
