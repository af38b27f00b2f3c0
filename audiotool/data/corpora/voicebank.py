"""VoiceBank+DEMAND: Valentini-Botinhao, Noisy speech database for training speech enhancement algorithms and
TTS models, University of Edinburgh, 2017, doi 10.7488/ds/2117."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from audiotool.data.corpora.base import Corpus
from audiotool.data.scan import Scan
from audiotool.progress import Progress

VALIDATION_SPEAKERS = ("p226", "p287")  # the two that published systems hold back from the 28


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
                result.notes.append(f"{noisy.name} and {clean.name} are not there: no test split")
                continue
            for there in (noisy, clean):
                if not there.is_dir():
                    raise self.missing(folder, there.name)
            found = self.pairs(noisy, [clean], split, progress)
            result.unreadable |= found.unreadable
            for entry in found.entries:
                speaker = entry.path.name.split("_")[0]
                held_back = split == "train" and speaker in VALIDATION_SPEAKERS
                result.entries.append(replace(entry, group=speaker, split="valid" if held_back else split))
        return result
