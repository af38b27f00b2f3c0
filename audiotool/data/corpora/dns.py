"""DNS Challenge: Dubey et al., ICASSP 2023 deep noise suppression challenge, arXiv:2303.11510; clean speech,
noise and room responses as its download script lays them out."""

from __future__ import annotations

import re
from pathlib import Path

from audiotool.data.corpora.base import Corpus
from audiotool.data.scan import Scan, scan
from audiotool.progress import Progress

FOLDERS = {
    "speech": ("clean_fullband", "clean"),
    "noise": ("noise_fullband", "noise"),
    "rir": ("impulse_responses", "impulse_responses/SLR26"),
}


class DNS(Corpus):
    name = "dns"
    source = "DNS Challenge"
    # The challenge collects many sources; its own notice lists them.
    licence = "CC-BY-4.0 and others, see the challenge's notice"
    layout = "datasets_fullband/ (or datasets/) with clean_fullband, noise_fullband and impulse_responses"

    def prepare(self, folder: Path, part: str, progress: Progress | None) -> Scan:
        roots = [folder, folder / "datasets_fullband", folder / "datasets"]
        result = Scan([])
        for kind, names in FOLDERS.items():
            place = next((root / n for root in roots for n in names if (root / n).is_dir()), None)
            if place is None:
                if kind == "speech":
                    raise self.missing(folder, names[0])
                result.notes.append(f"{names[0]} is not there: no {kind}")
                continue
            group = _speaker if kind == "speech" else None
            found = scan(place, kind, group, "auto", self.source, self.licence, progress=progress)
            result.entries += found.entries
            result.unreadable |= found.unreadable
        return result


def _speaker(path: Path) -> str:
    """Return the speaker: the reader of read speech, VCTK's speaker, else the first two folders: those
    below them are takes of one singer or actor."""
    reader = re.search(r"reader_(\d+)", path.name)
    if reader:
        return f"reader-{reader[1]}"
    vctk = re.match(r"(p\d{3})_", path.name)
    return vctk[1] if vctk else Path(*path.parent.parts[:2]).as_posix()
