"""Mels, room packs and manifests that are not what their names say: one sentence, whatever numpy raises."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from audiotool.audio.mel_file import FeatureReader, read_f0
from audiotool.data.manifest import read_manifest
from audiotool.data.rooms import Rooms, read_pack
from audiotool.data.scan import scan
from audiotool.errors import InputError


def header(text: str) -> bytes:
    """A numpy file of no values with that header."""
    padded = text.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded + bytes(64)


def described(shape: str, kind: str = "'<f4'") -> bytes:
    return header(f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}, }}")


ARRAYS = {
    "nothing": b"",
    "magic alone": b"\x93NUMPY",
    "no mapping": header("[1, 2"),
    "an open line": header("{'descr': '<f4', ("),
    "levels": header("(" * 3000),
    "an enormous shape": described("(80, 10**30)".replace("10**30", "1" + "0" * 30)),
    "a negative shape": described("(80, -4)"),
    "a shape of text": described("('a', 4)"),
    "more than there is": described("(80, 1000000000)"),
    "objects": described("(80, 4)", "'|O'"),
    "records": described("(80, 4)", "[('a', '<f4')]"),
    "text": described("(80, 4)", "'<U4'"),
    "integers": described("(80, 4)", "'<i4'"),
    "no such type": described("(80, 4)", "'<q99'"),
    "of length zero": described("(0, 0)"),
}


def archive(content: bytes, **member: Any) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("mel.npy", content)
    raw = bytearray(file.getvalue())
    for field, value in member.items():
        # Of the local header and of the directory.
        for mark, place in ((b"PK\3\4", {"flag": 6, "method": 8}), (b"PK\1\2", {"flag": 8, "method": 10})):
            at = raw.index(mark) + place[field]
            raw[at : at + 2] = int(value).to_bytes(2, "little")
    return bytes(raw)


@pytest.mark.parametrize("kind", ARRAYS)
@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_arrays(tmp_path: Path, kind: str, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    path.write_bytes(ARRAYS[kind] if ending == "npy" else archive(ARRAYS[kind]))
    with (
        pytest.raises(InputError, match=r"^[^\n]*a\.np[yz] (cannot be read as a mel|holds)[^\n]*$"),
        FeatureReader(path, (80,)) as reader,
    ):
        reader.range(80)
    if ending == "npy":
        with pytest.raises(InputError, match=r"a\.npy"):
            read_f0(path, 4)


@pytest.mark.parametrize("member", [{"flag": 1}, {"method": 99}, {"method": 12}, {"method": 14}])
def test_archives_that_numpy_does_not_open(tmp_path: Path, member: dict[str, int]) -> None:
    file = io.BytesIO()
    np.save(file, np.zeros((80, 4), np.float32))
    path = tmp_path / "a.npz"
    path.write_bytes(archive(file.getvalue(), **member))
    with pytest.raises(InputError, match="cannot be read as a mel"):
        FeatureReader(path, (80,))


PACK = {"rir": np.eye(2, 64, dtype=np.float32), "length": [64, 64], "sample_rate": 16000, "direct_sample": 0}


@pytest.mark.parametrize(
    "change",
    [
        {"sample_rate": 0},
        {"sample_rate": [1, 2]},
        {"length": [64]},
        {"length": [64, 65]},
        {"length": [0, 64]},
        {"length": ["a", "b"]},
        {"direct_sample": 64},
        {"direct_sample": -1},
        {"rir": np.zeros(64)},
        {"rir": np.full((2, 64), np.nan)},
        {"rir": np.array([[None]])},
    ],
)
def test_packs(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "rooms.npz"
    np.savez(path, **{**PACK, **change})
    for read in (read_pack, lambda p: Rooms([p], 8000)):
        with pytest.raises(InputError, match=r"rooms\.npz"):
            read(path)
    with pytest.raises(InputError, match=r"no audio found: .*rooms\.npz"):
        scan(tmp_path, "rir")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,seconds\na.wav,nan\n", "line 2: sample_rate must be 0"),
        ("path,seconds\na.wav,-1\n", "line 2: sample_rate must be 0"),
        ("path,sample_rate\na.wav,1e300\n", "line 2: sample_rate must be 0"),
        ("path,sample_rate\na.wav,inf\n", "line 2: sample_rate and seconds must be numbers"),
        ("path\na\0b.wav\n", "line 2: the path is empty, or no path|line contains NUL"),
        ("path\n" + "a" * 200_000 + "\n", "field larger than field limit"),
        ("seconds\n1\n", "the first line must name the columns"),
    ],
)
def test_manifests(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text, newline="")
    with pytest.raises(InputError, match=rf"a\.csv.*({message})"):
        read_manifest(path)
