"""scripts/render_valid_wide.py: two halves that share no voice and no noise."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from render_valid_wide import HALVES

from audiotool.data.entry import Entry
from audiotool.data.manifest import read_manifest, write_manifest

RATE = 16000


def test_halves_share_nothing(
    run: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    entries = []
    for split, count in (("valid", 8), ("train", 1)):
        for n in range(count):
            for kind, group in (("speech", f"voice{n}"), ("noise", f"class{n % 2}")):
                path = tmp_path / f"{split}-{kind}{n}.wav"
                soundfile.write(path, rng.normal(0, 0.1, 2 * RATE), RATE)
                entries.append(Entry(path, kind, group, RATE, 2.0, split))
    room = tmp_path / "room.wav"
    soundfile.write(room, np.r_[1.0, np.zeros(99)], RATE)
    entries.append(Entry(room, "rir", "", RATE, 0.01, "valid"))
    manifest = tmp_path / "m.csv"
    write_manifest(manifest, entries)
    out = tmp_path / "out"
    kinds = [word for kind in ("--speech", "--noise", "--rir") for word in (kind, str(manifest))]
    run("render_valid_wide", out, *kinds, "--count", 3)
    parts = [read_manifest(out / half / "material.csv") for half in HALVES]
    assert sum(map(len, parts)) == 16
    assert all("valid-" in entry.path.name for part in parts for entry in part)
    first, second = ({e.group if e.kind == "speech" else e.path for e in part} for part in parts)
    assert first
    assert second
    assert not first & second
    for half in HALVES:
        with (out / half / "index.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == 3
        assert all(soundfile.info(out / half / row["noisy"]).duration == 10 for row in rows)
