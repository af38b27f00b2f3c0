"""What the tests of batches share."""

from __future__ import annotations

from pathlib import Path

import pytest
from kit.audio import write_speech


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three recordings in a tree, among other things."""
    for name in ("a.wav", "sub/b.flac", "sub/deep/c.wav"):
        write_speech(tmp_path / "in" / name, 0.2)
    (tmp_path / "in" / "notes.txt").write_text("not audio")
    (tmp_path / "in" / ".hidden.wav").write_bytes(b"x")
    return tmp_path / "in"
