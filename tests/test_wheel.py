"""The wheel is small, because every user downloads it."""

from __future__ import annotations

import zlib
from pathlib import Path

ROOT = Path(__file__).parents[1]
BAR = 12_000_000
"""Bytes."""


def test_a_wheel_of_less_than_12_mb() -> None:
    folders = (ROOT / "audiotool", ROOT / "checkpoints", ROOT / "recipes")
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    cards = set((ROOT / "checkpoints").glob("*.md"))
    packed = [path for path in files if path.suffix != ".pyc" and path not in cards]
    # A wheel is deflated file by file; names, sums and the list of them take some 200 bytes a file.
    size = sum(len(zlib.compress(path.read_bytes(), 6)) + 200 for path in packed)
    assert any(path.suffix == ".safetensors" for path in packed)
    assert size < BAR, f"{size} bytes"
