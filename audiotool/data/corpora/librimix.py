"""LibriMix: Cosentino et al., LibriMix: an open-source dataset for generalizable speech separation, 2020,
arXiv:2005.11262."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from audiotool.data.corpora.base import Corpus
from audiotool.data.scan import Scan
from audiotool.errors import InputError
from audiotool.progress import Progress

SPLITS = {"train-360": "train", "train-100": "train", "dev": "valid", "test": "test"}


class LibriMix(Corpus):
    name = "librimix"
    source = "LibriMix"
    licence = "CC-BY-4.0"
    parts = ("mix_clean", "mix_both")
    layout = (
        "Libri2Mix/wav16k/min with train-100 or train-360, dev, test; in each mix_clean or mix_both, s1, s2"
    )

    def prepare(self, folder: Path, part: str, progress: Progress | None) -> Scan:
        root = self._variant(folder, part)
        result = Scan([])
        for name, split in SPLITS.items():
            if not (root / name / part).is_dir():
                result.notes.append(f"{name}/{part} is not there")
                continue
            stems = sorted(p for p in (root / name).iterdir() if re.fullmatch(r"s\d", p.name))
            if len(stems) < 2:
                raise self.missing(root / name, "s1 and s2")
            found = self.pairs(root / name / part, stems, split, progress)
            result.unreadable |= found.unreadable
            # File names are UTTERANCE_UTTERANCE, an utterance is SPEAKER-CHAPTER-NUMBER.
            result.entries += [
                replace(e, group="+".join(u.split("-")[0] for u in e.path.stem.split("_")))
                for e in found.entries
            ]
        return result

    def _variant(self, folder: Path, part: str) -> Path:
        """Return the folder that holds the splits, at most three levels down."""
        found = sorted(
            {p.parent.parent for n in range(4) for p in folder.glob("*/" * n + f"*/{part}") if p.is_dir()}
        )
        variants = [p for p in found if any((p / name).is_dir() for name in SPLITS)]
        if not variants:
            raise self.missing(folder, f"a folder with train-100/{part}")
        if len(variants) > 1:
            names = ", ".join(str(v.relative_to(folder)) for v in variants)
            raise InputError(f"{folder} holds {len(variants)} variants ({names}): name one of them")
        return variants[0]
