"""WAV from pipes equals WAV from files: every sample format, every header, pieces of any size."""

from __future__ import annotations

import io
import os
import re
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from kit.audio import speech_like
from kit.disk import largest_file

from audiotool.audio.raw import WIDTHS
from audiotool.audio.reader import AudioReader
from audiotool.errors import InputError

Found = tuple[np.ndarray, AudioReader]


class Pieces(io.RawIOBase):
    """A pipe that gives `size` bytes at a time at most and cannot seek."""

    def __init__(self, data: bytes, size: int) -> None:
        self._data, self._size = io.BytesIO(data), size

    def isatty(self) -> bool:
        return False

    def read(self, size: int = -1) -> bytes:
        return self._data.read(min(size, self._size) if size >= 0 else self._size)


def piped(data: bytes, size: int = 1 << 16) -> Found:
    with AudioReader("-", stdin=Pieces(data, size)) as reader:  # type: ignore[arg-type]
        return np.concatenate(list(reader.blocks(100))), reader


def from_file(data: bytes, folder: Path) -> Found:
    (folder / "a.wav").write_bytes(data)
    with AudioReader(folder / "a.wav") as reader:
        return np.concatenate(list(reader.blocks(100))), reader


def wav(fmt: bytes, data: bytes, before: bytes = b"", behind: bytes = b"") -> bytes:
    chunks = before + struct.pack("<4sI", b"fmt ", len(fmt)) + fmt + struct.pack("<4sI", b"data", len(data))
    body = b"WAVE" + chunks + data + b"\0" * (len(data) % 2) + behind
    return b"RIFF" + struct.pack("<I", len(body)) + body


def plain(tag: int = 1, channels: int = 1, bits: int = 16, frame_bytes: int | None = None) -> bytes:
    width = channels * bits // 8 if frame_bytes is None else frame_bytes
    return struct.pack("<HHIIHH", tag, channels, 16000, 16000 * width, width, bits)


@pytest.mark.parametrize("container", ["WAV", "WAVEX", "RF64"])
@pytest.mark.parametrize("subtype", WIDTHS)
@pytest.mark.parametrize("size", [1, 7, 1 << 16])
def test_equal_to_the_file(container: str, subtype: str, size: int, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with soundfile.SoundFile(str(path), "w", 16000, 2, subtype, format=container) as file:
        file.title = "a title"
        file.write(speech_like(0.05, 16000, 2).T)
    data = path.read_bytes()
    expected, known = from_file(data, tmp_path)
    found, reader = piped(data, size)
    np.testing.assert_array_equal(found, expected)
    assert reader.info.subtype == known.info.subtype == subtype
    assert (reader.info.sample_rate, reader.info.frames) == (16000, known.info.frames)
    with AudioReader(path) as again:
        assert reader.tags == again.tags == {"title": "a title"}
    assert reader.warnings == []


@pytest.mark.parametrize("subtype", ["MS_ADPCM", "IMA_ADPCM", "GSM610", "G721_32"])
def test_codecs_are_equal_to_the_file(subtype: str, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(str(path), speech_like(0.2, 8000)[0], 8000, subtype)
    expected, known = from_file(path.read_bytes(), tmp_path)
    found, reader = piped(path.read_bytes(), 100)
    np.testing.assert_array_equal(found, expected)
    assert (reader.info, reader.info.subtype) == (known.info, subtype)


@pytest.mark.parametrize(
    "fmt",
    [
        plain(bits=24, frame_bytes=4),
        plain(bits=16, frame_bytes=4),
        plain(bits=20, frame_bytes=3),
        plain(bits=12, frame_bytes=2),
        plain(bits=32, frame_bytes=4),
        plain(tag=3, bits=64, frame_bytes=8),
        plain(tag=7, bits=8, channels=3, frame_bytes=3),
        plain(bits=16, frame_bytes=0),
    ],
    ids=lambda fmt: str(struct.unpack("<HHIIHH", fmt)),
)
def test_odd_formats_are_equal_to_the_file(fmt: bytes, tmp_path: Path) -> None:
    data = wav(fmt, np.random.default_rng(0).integers(-9000, 9000, 1200, np.int16).astype("<f4").tobytes())
    expected, known = from_file(data, tmp_path)
    found, reader = piped(data, 333)
    np.testing.assert_array_equal(found, expected)
    assert reader.info == known.info


@pytest.mark.parametrize(
    ("fmt", "message"),
    [
        (plain(channels=0, frame_bytes=2), "cannot be read as audio"),
        (plain(tag=0x1234), "cannot be read as audio"),
        (plain()[:10], "no format chunk"),
    ],
)
def test_invalid_headers_are_refused(fmt: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        piped(wav(fmt, bytes(400)))


@pytest.mark.parametrize("size", [1 << 62, (1 << 64) - 1, 1 << 63])
def test_an_rf64_of_impossible_size_is_of_unknown_length(size: int) -> None:
    ds64 = struct.pack("<4sIQQQI", b"ds64", 28, size, size, 0, 0)
    data = wav(plain(), bytes(400), ds64)
    at = data.index(b"data")
    data = b"RF64\xff\xff\xff\xff" + data[8 : at + 4] + b"\xff\xff\xff\xff" + data[at + 8 :]
    found, reader = piped(data, 99)
    assert len(found) == 200
    assert reader.info.frames is None
    assert reader.warnings == []


def test_chunks_before_and_behind() -> None:
    data = (np.arange(101) - 50).astype(np.int8).tobytes()
    note = b"note" + struct.pack("<I", 3) + b"abc\0"
    found, reader = piped(wav(plain(bits=8), data, note, note), 10)
    assert len(found) == 101
    assert reader.extras.all_names() == ["note"]
    (warning,) = reader.warnings
    assert "behind the samples of a stream are not kept: note" in warning


@pytest.mark.parametrize("declared", [0, 0xFFFFFFFF])
def test_a_stream_that_ends_within_a_sample(declared: int) -> None:
    data = wav(plain(channels=2), bytes(400))
    header = data[:40] + struct.pack("<I", declared)
    found, reader = piped(header + data[44:] + b"\1\2\3", 5)
    assert len(found) == 100
    assert reader.warnings == ["standard input ends within a sample: 3 of 4 bytes are left out"]


def test_a_truncated_stream_is_reported_once() -> None:
    found, reader = piped(wav(plain(channels=2), bytes(400))[:-6], 5)
    assert len(found) == 98
    (warning,) = reader.warnings
    assert "standard input is truncated" in warning


@pytest.mark.parametrize("size", [1, 1001, 1 << 16])
def test_another_wav_behind_the_first(size: int) -> None:
    """As of `cat a.wav b.wav` and of two programs that write into one pipe."""
    first = np.arange(2000, dtype="<i2").tobytes()
    second = wav(plain(bits=8), bytes(300))
    message = "goes on with another WAV, which is left out: give one recording at a time"
    found, reader = piped(wav(plain(), first) + second, size)
    assert len(found) == 2000
    assert reader.warnings == [f"standard input {message}"]
    streamed = wav(plain(), first)
    streamed = streamed[:40] + b"\xff\xff\xff\xff" + streamed[44:]
    found, reader = piped(streamed + second, size)
    # A beginning that comes in pieces is found when it is complete.
    assert 2000 <= len(found) <= (2006 if size == 1 else 2000)
    assert reader.warnings == [f"standard input {message}"]


def test_a_writer_that_keeps_the_pipe_open_holds_nothing_up() -> None:
    reading, writing = os.pipe()
    os.write(writing, wav(plain(), bytes(400)))
    with os.fdopen(reading, "rb") as pipe, AudioReader("-", stdin=pipe) as reader:
        assert sum(len(block) for block in reader.blocks(50)) == 200
    os.close(writing)


def test_the_position_of_nan_is_reported() -> None:
    samples = np.zeros((300, 2), "<f4")
    samples[250, 1] = np.nan
    with pytest.raises(InputError, match=r"nan at sample 250 .* of channel 2"):
        piped(wav(plain(tag=3, channels=2, bits=32), samples.tobytes()), 999)


@pytest.mark.parametrize("size", [60_000, 200_000])
def test_a_full_disk_of_the_temporary_file_is_named(size: int) -> None:
    memory = io.BytesIO()
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, size)
    soundfile.write(memory, noise, 16000, format="FLAC")
    message = (
        rf"standard input is put aside in {re.escape(tempfile.gettempdir())}, and there .* set TMPDIR to"
    )
    with largest_file(50_000), pytest.raises(InputError, match=message):
        piped(memory.getvalue())
