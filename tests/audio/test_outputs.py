"""`audiotool.write`: arrays as pipelines take them, open files, and what is refused."""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from kit.audio import speech_like

from audiotool.audio.outputs import write
from audiotool.audio.reader import read
from audiotool.errors import InputError

X = np.array([0.5, -0.25, 0.125, -1.0], np.float32)
NOT_ON_WINDOWS = pytest.mark.skipif(sys.platform == "win32", reason="such a name is possible")


def test_write_limits_aloud(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "a.wav", np.array([0.5, 2.5, -2.0], np.float32), 16000)
    assert (
        "2 samples beyond full scale were limited (peak 2.500); a WAV with subtype='FLOAT' keeps"
        in caplog.text
    )


@pytest.mark.parametrize(
    "given",
    [
        X,
        (X * 32768).astype(np.int16),
        X.astype(">f8")[None],
        torch.from_numpy(X).bfloat16(),
        torch.from_numpy(X).requires_grad_(),
    ],
)
@pytest.mark.parametrize("rate", [16000, 16000.0, np.int64(16000)])
def test_write_takes_what_pipelines_take(tmp_path: Path, given: Any, rate: Any) -> None:
    write(tmp_path / "a.wav", given, rate)
    found, found_rate = read(tmp_path / "a.wav")
    assert found_rate == 16000
    np.testing.assert_array_equal(found, X[None])


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
@pytest.mark.parametrize(("subtype", "step"), [("DOUBLE", 0), ("PCM_32", 2**-32)])
def test_write_keeps_the_digits_of_float64(tmp_path: Path, kind: Any, subtype: str, step: float) -> None:
    x = np.random.default_rng(0).uniform(-0.5, 0.5, 1000)
    write(tmp_path / "a.wav", kind(x), 16000, subtype)
    assert np.abs(soundfile.read(tmp_path / "a.wav")[0] - x).max() <= step


def test_write_fills_an_open_file_and_leaves_it_open(tmp_path: Path) -> None:
    memory = io.BytesIO()
    for name in ("a.flac", "b.wav"):
        write(tmp_path / name, X, 16000)
        begin = memory.tell()
        write(memory, X, 16000, format=name[2:])
        assert memory.getvalue()[begin:] == (tmp_path / name).read_bytes()
    with pytest.raises(InputError, match="nan at sample 0"):
        write(memory, np.array([np.nan]), 16000, format="wav")
    with pytest.raises(InputError, match="give one, such as format='wav'"):
        write(memory, X, 16000)
    with tempfile.NamedTemporaryFile("w") as wrapper:
        for text in (io.StringIO(), wrapper):
            with pytest.raises(InputError, match="open it with the mode 'wb'"):
                write(text, X, 16000, format="wav")  # type: ignore[arg-type]
    reading = "cannot write the open file: it is open for reading"
    with (tmp_path / "a.flac").open("rb") as file, pytest.raises(InputError, match=reading):
        write(file, X, 16000, format="wav")
    memory.close()
    with pytest.raises(InputError, match="cannot write the open file: it is closed"):
        write(memory, X, 16000, format="wav")


def test_warnings_of_an_open_file_name_no_other(caplog: pytest.LogCaptureFixture) -> None:
    write(io.BytesIO(), np.array([0.0, 2.5]), 16000, format="wav")
    assert caplog.messages[0].startswith("the open file: 1 sample beyond full scale was limited")


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        (None, {}, "a path is a str or a Path, got NoneType"),
        ("", {}, "a path is empty"),
        ("s3://bucket/a.wav", {}, "is a URL"),
        ("a\0b.wav", {}, r"no file can be named 'a\\x00b\.wav'"),
        pytest.param("a\ud800.wav", {}, r"no file can be named 'a\\ud800\.wav'", marks=NOT_ON_WINDOWS),
        ("a.wav", {"subtype": 5}, "a subtype is a str, got 5"),
        ("a.wav", {"format": 5}, "a format is a str, got 5"),
        ("a.xyz", {}, "in Python format="),
    ],
)
def test_write_refuses_other_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: Any, options: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        write(path, X, 16000, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "rate", "message"),
    [
        (np.zeros((1, 2, 3)), 16000, "shape"),
        (np.zeros((0, 4)), 16000, "shape"),
        (np.zeros((16000, 2)), 16000, "transpose it"),
        (np.array([100, -100], np.int32), 16000, "divide other integers by their full scale"),
        (np.array([0.0, np.nan]), 16000, "the waveform holds nan at sample 1 of channel 1"),
        (X, "16000", "a sample rate is given in Hz, a whole number above 0, got '16000'"),
        (X, 16000.5, "got 16000.5"),
        (X, True, "got True"),
        (X, 10**10, "at most 2147483647 Hz, got 10000000000"),
    ],
)
def test_write_refuses(tmp_path: Path, given: Any, rate: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        write(tmp_path / "a.wav", given, rate)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "subtype", "expected"),
    [
        ("a.wav", "pcm_24", "PCM_24"),
        ("a.wav", "float", "FLOAT"),
        ("a.flac", None, "PCM_16"),
        ("a.ogg", None, "VORBIS"),
        ("a.ogg", "opus", "OPUS"),
    ],
)
def test_write_takes_the_subtype_in_any_case(
    tmp_path: Path, name: str, subtype: str | None, expected: str
) -> None:
    write(tmp_path / name, speech_like(0.1, 16000), 16000, subtype)
    assert soundfile.info(str(tmp_path / name)).subtype == expected


@pytest.mark.parametrize(
    ("name", "subtype", "message"),
    [
        ("a.wav", "pcm24", "did you mean 'PCM_24'"),
        ("a.wav", "foo", "WAV holds no samples of type 'foo'"),
        ("a.flac", "FLOAT", "FLAC holds no samples of type 'FLOAT'"),
    ],
)
def test_write_refuses_other_subtypes(tmp_path: Path, name: str, subtype: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        write(tmp_path / name, X, 16000, subtype)
    assert not list(tmp_path.iterdir())
