"""Of recordings one behind another in a file the first is read, and a warning says so."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile

from audiotool.audio.concatenated import is_ogg_behind
from audiotool.audio.reader import AudioReader
from audiotool.audio.unclosed import OpenEnded, corrected

FIRST = (0.1 * np.sin(np.arange(3001) / 5)).astype(np.float32)


def recording(container: str, subtype: str, size: int | None = None) -> bytes:
    """A file of `FIRST`; with another size of its samples in the header."""
    memory = io.BytesIO()
    soundfile.write(memory, FIRST, 16000, format=container, subtype=subtype)
    data = memory.getvalue()
    if size is None:
        return data
    at = data.index(b"data")
    return data[:at] + struct.pack("<4sI", b"data", size) + data[at + 8 :]


def read(source: Path | bytes) -> tuple[int, list[str]]:
    """Number of samples, and the warnings."""
    stdin = io.BytesIO(source) if isinstance(source, bytes) else None
    with AudioReader("-" if isinstance(source, bytes) else source, stdin=stdin) as reader:
        return sum(len(block) for block in reader.blocks(1000)), reader.warnings


@pytest.mark.parametrize(
    ("container", "subtype"),
    [
        ("WAV", "PCM_16"),
        ("WAV", "PCM_U8"),
        ("WAV", "IMA_ADPCM"),
        ("RF64", "FLOAT"),
        ("AIFF", "PCM_16"),
        ("AIFF", "PCM_S8"),
        ("AU", "PCM_16"),
        ("AU", "ULAW"),
        ("CAF", "PCM_24"),
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
    ],
)
def test_another_recording_in_a_file_or_pipe(tmp_path: Path, container: str, subtype: str) -> None:
    one = recording(container, subtype)
    alone, warnings = read(one)
    assert not warnings
    path = tmp_path / "both.wav"
    both = one + recording(container, subtype)  # the serial number of an Ogg is random
    path.write_bytes(both)
    kind = {"RF64": "WAV", "OGG": "Ogg"}.get(container, container)
    for source, name in ((path, str(path)), (both, "standard input")):
        message = f"{name} goes on with another {kind}, which is left out: give one recording at a time"
        assert read(source) == (alone, [message])


@pytest.mark.parametrize("others", [0, 1])
@pytest.mark.parametrize("is_opus", [False, True])
def test_an_ogg_of_the_same_serial_number(tmp_path: Path, is_opus: bool, others: int) -> None:
    """A jingle before and behind an episode, and encoders that give all streams one number."""
    one = coded("ogg", "libopus", fflags="bitexact") if is_opus else recording("OGG", "VORBIS")
    path = tmp_path / "show.ogg"
    show = one + others * recording("OGG", "OPUS" if is_opus else "VORBIS") + one
    path.write_bytes(show)
    for source, name in ((path, str(path)), (show, "standard input")):
        word = f"{name} goes on with another Ogg, which is left out: give one recording at a time"
        assert read(source)[1] == [word]
    assert not is_ogg_behind(io.BytesIO(one))
    assert is_ogg_behind(io.BytesIO(one[:-20] + bytes(100_000) + one)), "behind damaged pages"
    assert not is_ogg_behind(io.BytesIO(one[:-20] + bytes(100_000)))


def coded(container: str, codec: str, **options: str) -> bytes:
    """About two seconds in a container of FFmpeg's."""
    memory = io.BytesIO()
    with av.open(memory, "w", format=container, options=options) as file:
        stream: Any = file.add_stream(codec, rate=48000, layout="mono")
        stream.bit_rate = 128_000
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 88200), np.float32), format="flt", layout="mono")
        frame.sample_rate, frame.pts = 48000, 0
        for piece in (frame, None):
            file.mux(stream.encode(piece))
    return memory.getvalue()


@pytest.mark.parametrize(
    ("container", "codec", "kind", "options"),
    [
        ("mp4", "aac", "MP4", {}),
        ("mp4", "aac", "MP4", {"movflags": "frag_keyframe+empty_moov"}),
        ("asf", "wmav2", "ASF", {}),
    ],
)
def test_another_recording_that_ffmpeg_does_not_reach(
    tmp_path: Path, container: str, codec: str, kind: str, options: dict[str, str]
) -> None:
    one = coded(container, codec, **options)
    alone, warnings = read(one)
    assert not warnings
    path = tmp_path / f"both.{container}"
    path.write_bytes(one + one)
    word = f"{path} goes on with another {kind}, which is left out: give one recording at a time"
    assert read(path) == (alone, [word])


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_U8", "PCM_24"])
@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_another_recording_in_a_file_without_sizes(tmp_path: Path, subtype: str, size: int) -> None:
    samples = len(FIRST) * {"PCM_16": 2, "PCM_U8": 1, "PCM_24": 3}[subtype]
    one = recording("WAV", subtype, size)
    one = one[: one.index(b"data") + 8 + samples]
    path = tmp_path / "both.wav"
    path.write_bytes(one + one)
    frames, (warning,) = read(path)
    assert frames == len(FIRST)
    assert "goes on with another WAV" in warning
    path.write_bytes(one)
    assert read(path) == (len(FIRST), [])


@pytest.mark.parametrize("container", ["WAV", "AIFF", "AU", "CAF"])
def test_other_bytes_behind_a_recording_are_no_recording(tmp_path: Path, container: str) -> None:
    path = tmp_path / "one.wav"
    path.write_bytes(recording(container, "PCM_16") + bytes(7))
    assert read(path) == (len(FIRST), [])


@pytest.mark.parametrize("size", [1, 7, 64, 5000])
def test_a_wav_on_the_edge_of_two_reads_is_found(size: int) -> None:
    one = recording("WAV", "PCM_16", 0)
    for begin in range(40):
        view = corrected(io.BytesIO(one + bytes(begin) + one))
        there = 0
        while piece := view.read(size):
            there += len(piece)
        assert there == len(one) + begin
    assert len(corrected(io.BytesIO(one + b"RIFF....WAV")).read()) == len(one) + 10


def test_a_file_without_sizes_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, taken = tmp_path / "a.wav", []
    path.write_bytes(recording("WAV", "PCM_16", 0) + bytes(1 << 22))
    readinto = OpenEnded.readinto

    def counted(view: OpenEnded, buffer: bytearray) -> int:
        taken.append(readinto(view, buffer))
        return taken[-1]

    monkeypatch.setattr(OpenEnded, "readinto", counted)
    with AudioReader(path) as reader:
        assert sum(taken) < 10_000, "opening reads the header"
        frames = sum(len(block) for block in reader.blocks(5000))
    assert frames == reader.info.frames == len(FIRST) + (1 << 21)
    assert sum(taken) < path.stat().st_size + 10_000
