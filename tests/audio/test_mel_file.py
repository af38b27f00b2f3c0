"""Mel files: complete, or not there."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from kit.disk import largest_file

from audiotool.audio.mel_file import FeatureReader, MelWriter
from audiotool.dsp.mel import MelConfig
from audiotool.errors import InputError

DEFINITION = MelConfig(sample_rate=16000, n_fft=512, hop_length=128, win_length=512, n_mels=20)
MEL = np.random.default_rng(0).standard_normal((20, 300)).astype(np.float32)


def write_mel(path: Path) -> None:
    with MelWriter(path, DEFINITION) as writer:
        writer.write(MEL[:, :200])
        writer.write(MEL[:, 200:])


def read_mel(path: Path) -> np.ndarray:
    with FeatureReader(path, (20,)) as reader:
        return np.concatenate(list(reader.blocks(70)), axis=1)


@pytest.mark.parametrize("ending", [".npy", ".npz"])
def test_numpy_files_are_in_c_order(tmp_path: Path, ending: str) -> None:
    write_mel(tmp_path / f"a{ending}")
    found = np.load(tmp_path / f"a{ending}")
    values = found["mel"] if ending == ".npz" else found
    assert values.flags.c_contiguous
    np.testing.assert_array_equal(values, MEL)


@pytest.mark.parametrize("ending", [".npy", ".npz", ".safetensors"])
def test_a_mel_that_does_not_fit_the_disk_is_refused_at_every_size(tmp_path: Path, ending: str) -> None:
    whole, path = tmp_path / f"whole{ending}", tmp_path / f"a{ending}"
    write_mel(whole)
    np.testing.assert_array_equal(read_mel(whole), MEL)
    length = whole.stat().st_size
    reasons = []
    for size in [0, 1, 127, 129, *range(500, length - 40, 2000), *range(length - 40, length)]:
        path.write_bytes(b"earlier")
        with largest_file(size), pytest.raises(InputError) as caught:
            write_mel(path)
        reasons.append(str(caught.value))
        assert path.read_bytes() == b"earlier"
        assert sorted(p.name for p in tmp_path.iterdir()) == [path.name, whole.name]
    assert all(reason.startswith(f"cannot write {path}: ") for reason in reasons)
    assert all("`ulimit -f`" in reason for reason in reasons)
    with largest_file(length + 128):
        write_mel(path)
    np.testing.assert_array_equal(read_mel(path), MEL)


@pytest.mark.parametrize("ending", [".npy", ".npz"])
def test_a_mel_whose_folder_is_removed_meanwhile(tmp_path: Path, ending: str) -> None:
    writer = MelWriter(tmp_path / "out" / f"a{ending}", DEFINITION)
    writer.write(MEL)
    shutil.rmtree(tmp_path / "out")
    with pytest.raises(InputError, match="its folder was removed while the file was written"), writer:
        pass


def npy(shape: str, kind: str = "'<f4'") -> bytes:
    """A file of 64 bytes whose header tells this shape and type."""
    header = f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header + bytes(64)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy("(80, 4611686018427387904)"), "does not fit into its"),
        (npy("(20, 1000)"), r"an array of shape \(20, 1000\) does not fit into its"),
        (npy("(20, -5)"), r"an array of shape \(20, -5\) does not fit"),
        (npy("(2, 4)", "'|O'"), "it holds object, not floating point"),
        (npy("(2, 4)", "'<i4'"), "it holds int32, not floating point"),
        (npy("(" * 200 + ")" * 200), "it does not begin as an array of numpy does$"),
        (b"Dear friend, ...", "it does not begin as an array of numpy does$"),
        (b"", "the file is empty$"),
    ],
)
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("ending", [".npy", ".npz"])
def test_a_header_is_checked_before_what_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, content: bytes, message: str
) -> None:
    path = tmp_path / f"a{ending}"
    if ending == ".npz":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("mel.npy", content)
    else:
        path.write_bytes(content)

    def unpacking(*_: object) -> None:
        raise AssertionError("it is unpacked")

    monkeypatch.setattr(shutil, "copyfileobj", unpacking)
    with pytest.raises(InputError, match=message) as refusal:
        FeatureReader(path, (20,))
    assert len(str(refusal.value)) < len(str(path)) + 120
