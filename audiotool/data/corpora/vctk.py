"""VCTK: Yamagishi, Veaux, MacDonald, CSTR VCTK Corpus 0.92, University of Edinburgh, 2019,
doi 10.7488/ds/2645."""

from __future__ import annotations

from pathlib import Path

from audiotool.data.corpora.base import Corpus
from audiotool.data.scan import Scan, scan
from audiotool.progress import Progress


class VCTK(Corpus):
    name = "vctk"
    source = "VCTK-0.92"
    licence = "CC-BY-4.0"
    parts = ("mic1", "mic2")
    layout = "wav48_silence_trimmed/p225/p225_001_mic1.flac (version 0.92) or wav48/p225/p225_001.wav (0.80)"

    def prepare(self, folder: Path, part: str, progress: Progress | None) -> Scan:
        places = [folder / "wav48_silence_trimmed", folder / "wav48"]
        places += [folder / "VCTK-Corpus-0.92" / p.name for p in places] + [folder / "VCTK-Corpus" / "wav48"]
        root = next((p for p in places if p.is_dir()), None)
        if root is None:
            raise self.missing(folder, "wav48_silence_trimmed/")
        other = next(p for p in self.parts if p != part)
        return scan(
            root,
            group=lambda path: path.parts[0],
            source=self.source,
            licence=self.licence,
            keep=lambda path: not path.stem.endswith(f"_{other}"),
            progress=progress,
        )
