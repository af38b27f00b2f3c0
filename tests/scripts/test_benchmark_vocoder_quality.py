"""scripts/benchmark_vocoder_quality.py: a vocoder beside Griffin-Lim, on a little."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import benchmark_vocoder_quality
import pytest
from kit.audio import write_speech


def test_a_table_of_both_methods(
    run: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_speech(tmp_path / "in" / "a.wav", 1.0, 16000)
    monkeypatch.setattr(benchmark_vocoder_quality, "METRICS", {"mel_l1": "mel L1"})
    lines = run("benchmark_vocoder_quality", "vocode", tmp_path / "in", "--seconds", 0.5).splitlines()
    assert lines[0] == "1 recordings, 0.5 s at 24000 Hz, one core"
    assert lines[2].startswith("| method | mel L1 | speed |")
    for line, name in zip(lines[4:6], ("harmonic-vocoder", "Griffin-Lim"), strict=True):
        assert line.startswith(f"| {name}")
        assert 0 < float(line.split("|")[2]) < 10
