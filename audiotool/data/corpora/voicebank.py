"""VoiceBank+DEMAND: Valentini-Botinhao, Noisy speech database for training speech enhancement algorithms and
TTS models, University of Edinburgh, 2017, doi 10.7488/ds/2117."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from audiotool.data.corpora.base import Corpus
from audiotool.data.entry import Entry
from audiotool.data.scan import Scan, assign_splits
from audiotool.progress import Progress

VALIDATION_SPEAKERS = ("p226", "p287")  # the two that published systems hold back from the 28
VALIDATION_SHARE = 0.03
"""Share of the seconds that is held back where these two are absent: two speakers of the 56."""


class VoiceBank(Corpus):
    name = "voicebank"
    source = "VoiceBank+DEMAND"
    licence = "CC-BY-4.0"
    parts = ("28spk", "56spk")
    layout = (
        "clean_trainset_28spk_wav, noisy_trainset_28spk_wav and, for the test split, clean_testset_wav,"
        " noisy_testset_wav"
    )

    def prepare(self, folder: Path, part: str, progress: Progress | None) -> Scan:
        result = Scan([])
        for name, split in ((f"trainset_{part}", "train"), ("testset", "test")):
            noisy, clean = folder / f"noisy_{name}_wav", folder / f"clean_{name}_wav"
            if split == "test" and not noisy.is_dir() and not clean.is_dir():
                result.notes.append(f"{noisy.name} and {clean.name} are not there")
                continue
            for there in (noisy, clean):
                if not there.is_dir():
                    raise self.missing(folder, there.name)
            found = self.pairs(noisy, [clean], split, progress)
            result.unreadable |= found.unreadable
            entries = [replace(e, group=e.path.name.split("_")[0]) for e in found.entries]
            if split == "train":
                entries = _held_back(entries, result.notes)
            result.entries += entries
        return result


def _held_back(entries: list[Entry], notes: list[str]) -> list[Entry]:
    """Return the training set with its validation split; a note names other speakers than the usual two."""
    if any(e.group in VALIDATION_SPEAKERS for e in entries):
        return [replace(e, split="valid" if e.group in VALIDATION_SPEAKERS else "train") for e in entries]
    entries = assign_splits(entries, "auto", {"valid": VALIDATION_SHARE})
    speakers = sorted({e.group for e in entries if e.split == "valid"})
    notes.append(f"{' and '.join(VALIDATION_SPEAKERS)} are not there: valid has {', '.join(speakers)}")
    return entries
