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
from audiotool.errors import InputError

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


def id3(title: str, padding: int = 0, footer: bool = False) -> bytes:
    """An ID3v2.4 tag."""
    text = b"\3" + title.encode()
    body = b"TIT2" + size(len(text)) + b"\0\0" + text + bytes(padding)
    head = b"\4\0" + bytes([0x10 if footer else 0]) + size(len(body))
    return b"ID3" + head + body + (b"3DI" + head if footer else b"")


def size(count: int) -> bytes:
    """A number of bytes, 7 bits in each byte."""
    return bytes(count >> shift & 127 for shift in (21, 14, 7, 0))


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


COUNTED, UNCOUNTED = encoded(LOUD, 44100), streamed(LOUD)
SECOND = "has a second ID3 tag, of which libsndfile's tags alone are kept"
REST = "begins with 60 bytes that are no whole frame: they are left out"


@pytest.mark.parametrize("sound", [COUNTED, UNCOUNTED], ids=["counted", "uncounted"])
@pytest.mark.parametrize(
    ("lead", "title", "remark"),
    [
        (id3("One", 30_000), "One", ""),
        (id3("One") + id3("Two"), None, SECOND),
        (id3("One") + id3("One", 30_000), "One", SECOND),
        (id3("One", 2000) + id3("One", 2000), "One", SECOND),
        (id3("One") + bytes(3000), "One", ""),
        (id3("One", footer=True), "One", ""),
        (bytes(500), None, ""),
        (UNCOUNTED[10:70], None, REST),
    ],
    ids=["cover", "two tags", "small and large", "large", "padding", "footer", "zeros", "middle of a frame"],
)
def test_what_lies_before_the_first_frame_costs_no_sample(
    tmp_path: Path, sound: bytes, lead: bytes, title: str | None, remark: str
) -> None:
    path = tmp_path / "a.mp3"
    expected, announced, _ = read(path, sound)
    assert expected >= len(LOUD)
    assert announced == expected
    assert read(path, lead + sound) == (expected, expected, [f"{path} {remark}"] if remark else [])
    with AudioReader(path) as reader:
        assert title is None or reader.tags["title"] == title
        assert reader.seek(1000)
        assert len(reader.excerpt(1000, 5000)) == 5000


@pytest.mark.parametrize("sound", [COUNTED, UNCOUNTED], ids=["counted", "uncounted"])
@pytest.mark.parametrize("padding", [0, 3000])
def test_a_tag_before_the_samples_counts_more_than_one_behind(
    tmp_path: Path, sound: bytes, padding: int
) -> None:
    """The one behind has room for 30 characters."""
    title, path = "Interview of the seventh of November", tmp_path / "a.mp3"
    behind = b"TAG" + title[:30].encode() + b"Somebody".ljust(95, b"\0")
    path.write_bytes(id3(title) + bytes(padding) + sound + behind)
    with AudioReader(path) as reader:
        assert (reader.tags["title"], reader.tags["artist"]) == (title, "Somebody")


def test_what_is_no_mp3_is_not_searched_for_frames(tmp_path: Path) -> None:
    for name, data in (("a.avi", b"RIFF\0\0\0\0AVI " + UNCOUNTED), ("a.mp3", bytes(500) + UNCOUNTED[:300])):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=r"cannot be read|holds no sound track"):
            AudioReader(tmp_path / name)
