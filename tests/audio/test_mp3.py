"""An MP3 is read to its end, whatever its beginning says of its length."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from audiotool.audio.forward import MP3_SLACK
from audiotool.audio.mp3 import first_frame
from audiotool.audio.reader import AudioReader

QUIET = np.zeros(160_000, np.float32)
LOUD = np.random.default_rng(0).uniform(-0.5, 0.5, 32_000).astype(np.float32)


def encoded(sound: NDArray[np.float32], sample_rate: int = 16000) -> bytes:
    """An MP3 with varying bit rates, and its length in the first frame."""
    memory = io.BytesIO()
    form = {"format": "MP3", "bitrate_mode": "VARIABLE", "compression_level": 0.3}
    with soundfile.SoundFile(memory, "w", sample_rate, 1, **form) as file:
        file.write(sound)
    return memory.getvalue()


def streamed(*parts: NDArray[np.float32]) -> bytes:
    """As a stream: without the first frame, which holds the length."""
    data = encoded(np.concatenate(parts))
    first = first_frame(io.BytesIO(data))
    assert first is not None
    return data[first.end :]


def read(path: Path, data: bytes) -> tuple[int, int | None, list[str]]:
    """Number of samples that come, and that are announced; the warnings."""
    path.write_bytes(data)
    with AudioReader(path) as reader:
        return sum(len(block) for block in reader.blocks(5000)), reader.info.frames, reader.warnings


@pytest.mark.parametrize("parts", [(LOUD, QUIET), (QUIET, LOUD), (LOUD, QUIET, LOUD)])
def test_a_stream_is_whole(tmp_path: Path, parts: tuple[NDArray[np.float32], ...]) -> None:
    expected = sum(map(len, parts))
    came, announced, warnings = read(tmp_path / "a.mp3", streamed(*parts))
    assert expected <= came <= expected + 2 * MP3_SLACK
    assert announced == came
    assert not warnings
    came, announced, warnings = read(tmp_path / "a.mp3", streamed(*parts)[:-50])
    assert announced == came >= expected - MP3_SLACK
    assert not warnings


def test_a_stream_has_its_tags_and_seeks(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    data = streamed(LOUD, QUIET, LOUD) + b"TAG" + b"News".ljust(125, b"\0")
    came, _, warnings = read(path, data)
    assert not warnings
    with AudioReader(path) as reader:
        assert reader.tags["title"] == "News"
        assert reader.seek(came - 5000)
        assert len(reader.excerpt(came - 5000, 9000)) == 5000


def test_a_cut_file_announces_no_length(tmp_path: Path) -> None:
    data = encoded(np.concatenate([LOUD, QUIET]))
    came, announced, (warning,) = read(tmp_path / "a.mp3", data[: len(data) // 2])
    assert 0 < came < len(LOUD) + len(QUIET)
    assert announced is None
    assert f"truncated: {came / 16000:.2f} s of 12.00 s" in warning
    came, announced, warnings = read(tmp_path / "a.mp3", data)
    assert (came, announced, warnings) == (192_000, 192_000, [])


def test_another_mp3_is_left_out_with_a_word(tmp_path: Path) -> None:
    path = tmp_path / "both.mp3"
    tag = b"TAG" + bytes(125)
    word = [f"{path} goes on with another MP3, which is left out: give one recording at a time"]
    for between in (b"", tag, b"ID3\4\0\0" + struct.pack(">I", 100) + bytes(100)):
        assert read(path, encoded(LOUD) + between + encoded(QUIET)) == (len(LOUD), len(LOUD), word)
    assert read(path, encoded(LOUD) + streamed(QUIET))[::2] == (len(LOUD), word)
    # Of streams of one sample rate nothing says where one ends.
    came, _, warnings = read(path, streamed(LOUD) + streamed(QUIET))
    assert came >= len(LOUD) + len(QUIET)
    assert not warnings
    came, _, warnings = read(path, streamed(LOUD) + encoded(QUIET, 44100))
    assert abs(came - len(LOUD)) <= MP3_SLACK
    assert warnings == word
    assert read(path, encoded(LOUD) + tag) == (len(LOUD), len(LOUD), [])
