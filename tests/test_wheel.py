"""The wheel is small, because every user downloads it, and runs where it is unpacked."""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path

from kit.command import run_process

ROOT = Path(__file__).parents[1]
RECORDING = ROOT / "tests" / "data" / "audio" / "demo" / "noisy.flac"
BAR = 12_000_000
"""Bytes."""


def test_a_wheel_of_less_than_12_mb() -> None:
    folders = (ROOT / "audiotool", ROOT / "checkpoints", ROOT / "recipes")
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    left_out = {*(ROOT / "checkpoints").glob("*.md"), *(ROOT / "checkpoints" / "unbundled").iterdir()}
    packed = [path for path in files if path.suffix != ".pyc" and path not in left_out]
    # A wheel is deflated file by file; names, sums and the list of them take some 200 bytes a file.
    size = sum(len(zlib.compress(path.read_bytes(), 6)) + 200 for path in packed)
    assert any(path.suffix == ".safetensors" for path in packed)
    assert size < BAR, f"{size} bytes"


def test_a_zip_file_says_that_it_has_to_be_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as packed:
        for path in (ROOT / "audiotool").rglob("*.py"):
            packed.write(path, path.relative_to(ROOT))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "all.zip")}
    for words in (("denoise", RECORDING, "-o", "out.wav"), ("models", "list")):
        done = run_process(*words, env=environment, cwd=tmp_path)
        assert f"cannot run from a zip file, {tmp_path / 'all.zip'}" in done.stderr, done.stderr
        assert done.returncode != 0
