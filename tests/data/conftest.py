"""A small corpus of tones, each speaker at a pitch of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from kit.tones import PITCHES, RATE, tone

from audiotool.data.entry import Entry
from audiotool.data.manifest import write_manifest


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A manifest of three speakers with two recordings of 3 s each, and two noises, for every split."""
    rng = np.random.default_rng(0)
    entries = []
    for split in ("train", "valid"):
        for speaker, pitch in PITCHES.items():
            for n in range(2):
                path = tmp_path / split / speaker / f"{n}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, tone(pitch, 3.0), RATE, subtype="FLOAT")
                entries.append(Entry(path, "speech", speaker, RATE, 3.0, split, "tones", "CC0-1.0"))
        for n in range(2):
            path = tmp_path / split / f"noise{n}.wav"
            soundfile.write(path, 0.1 * rng.standard_normal(4 * RATE), RATE, subtype="FLOAT")
            entries.append(Entry(path, "noise", f"class{n}", RATE, 4.0, split, "hiss", "CC-BY-4.0"))
    manifest = tmp_path / "manifest.csv"
    write_manifest(manifest, entries)
    return manifest
