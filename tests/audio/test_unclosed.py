"""Files whose header does not say how much follows are read alike by every package, and all of them."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from kit.audio import speech_like, write_speech

from audiotool.audio import unclosed as unclosed_files
from audiotool.audio.reader import AudioReader, excerpt, measure, read
from audiotool.audio.unclosed import BrokenHeader, WavHeader, corrected, read_wav_header
from audiotool.data.clips import FileClips, read_audio
from audiotool.data.scan import scan
from audiotool.errors import InputError
from audiotool.metrics.pairing import FilePair
from audiotool.metrics.score_files import score_stems

WHOLE = speech_like(0.5, 16000)


def with_sizes(data: bytes, sizes: dict[bytes, bytes]) -> bytes:
    """A file with other bytes behind each of some names."""
    changed = bytearray(data)
    for name, value in sizes.items():
        at = changed.index(name) + len(name)
        changed[at : at + len(value)] = value
    return bytes(changed)


def unclosed(folder: Path, kind: str) -> Path:
    """A file of `WHOLE` as a recorder or a pipe leaves it."""
    name, subtype = {
        "rf64": ("a.rf64", "PCM_24"),
        "caf": ("a.caf", "PCM_16"),
        "flac": ("a.flac", "PCM_16"),
        "adpcm": ("a.wav", "IMA_ADPCM"),
        "float": ("a.wav", "FLOAT"),
    }.get(kind.split()[0], ("a.wav", "PCM_16"))
    path = write_speech(folder / name, 0.5, subtype=subtype)
    data = path.read_bytes()
    marks = {"0": 0, "ff": 0xFFFFFFFF, "sox": 0x7FFFF024, "arecord": 0x80000000}
    size = struct.pack("<I", marks.get(kind.split()[-1], 0))
    if kind.startswith("rf64"):
        data = with_sizes(data, {b"ds64\x1c\0\0\0": size * 6})
    elif kind == "caf":
        data = with_sizes(data, {b"data": b"\xff" * 8})
    elif kind == "flac":
        data = data[:21] + bytes([data[21] & 0xF0]) + bytes(4) + data[26:]
    else:
        data = with_sizes(data, {b"RIFF": size, b"data": size})
    path.write_bytes(data)
    return path


KINDS = [
    "wav 0",
    "wav ff",
    "wav sox",
    "wav arecord",
    "float 0",
    "adpcm 0",
    "rf64 0",
    "rf64 ff",
    "caf",
    "flac",
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_room_reads_the_same(tmp_path: Path, kind: str) -> None:
    path = unclosed(tmp_path, kind)
    waveform, rate = read(path)
    length = waveform.shape[1]
    assert (rate, length) == (16000, 8000 if "adpcm" not in kind else length)
    assert np.std(waveform[:, :8000] - WHOLE) < (1e-4 if "adpcm" not in kind else 0.02)
    assert measure(path).frames == length
    [entry] = scan(tmp_path).entries
    assert entry.seconds == pytest.approx(length / 16000)
    np.testing.assert_array_equal(read_audio(path, 16000), waveform[0])
    clips = FileClips([path], 16000)
    assert (clips.lengths.tolist(), clips.unreadable) == ([length], {})
    np.testing.assert_array_equal(clips.read(0, 3001, 700), waveform[0, 3001:3701])
    [row] = score_stems([FilePair("a", path, path)], ["snr"])
    assert not row.failed
    with AudioReader("-", stdin=io.BytesIO(path.read_bytes())) as reader:
        piped = np.concatenate(list(reader.blocks(999))).T
        assert reader.warnings == []
    np.testing.assert_array_equal(piped, waveform)


def warnings_of(data: bytes, folder: Path) -> tuple[list[str], list[str]]:
    """Warnings of a WAV that is read as a file, and of one that is read from a pipe."""
    (folder / "a.wav").write_bytes(data)
    found = []
    for source in (folder / "a.wav", "-"):
        with AudioReader(source, stdin=io.BytesIO(data)) as reader:
            sum(map(len, reader.blocks(999)))
        found.append(reader.warnings)
    return found[0], found[1]


@pytest.mark.parametrize("form", [0, 36 + 1000, 36 + 16000])
def test_a_header_behind_its_samples_is_said_to_be_so(tmp_path: Path, form: int) -> None:
    """As of a recorder that corrects the sizes now and then, and crashes."""
    data = write_speech(tmp_path / "a.wav", 0.5).read_bytes()
    data = with_sizes(data, {b"RIFF": struct.pack("<I", form), b"data": struct.pack("<I", 1000)})
    [of_file], [of_pipe] = warnings_of(data, tmp_path)
    for warning in (of_file, of_pipe):
        assert "by its header it ends after 0.03 s, and only they are processed" in warning
        assert "ffmpeg -ignore_length 1" in warning
    assert "15000 bytes (0.47 s) that follow are left out" in of_file


@pytest.mark.parametrize(
    ("coding", "more"),
    [
        (6, b"\x55" * 2000),
        (6, b"\x55\xd5\x55\x55" * 500),
        (6, b"\x55\x55\x55\x55\xd5" * 400),
        (7, b"\x7e~^NV\xfe\xff\x7f" * 250),
    ],
    ids=["silence", "quiet", "quiet that begins with letters", "mu-law"],
)
def test_samples_that_look_like_letters_are_no_chunk(tmp_path: Path, coding: int, more: bytes) -> None:
    """A-law's silence is the letter U."""
    subtype = {6: "ALAW", 7: "ULAW"}[coding]
    soundfile.write(tmp_path / "a.wav", WHOLE[0, :800], 8000, subtype=subtype)
    whole = (tmp_path / "a.wav").read_bytes() + more
    for warnings in warnings_of(whole, tmp_path):
        assert "by its header it ends after 0.10 s" in warnings[0]


@pytest.mark.parametrize(
    "more",
    [
        b"note\2\0\0\0ab",
        b"\0note\2\0\0\0ab",
        b"note\2\0\0\0ab" + bytes(4000),
        b"note\xff\x0f\0\0ab" * 200,
        bytes(4000),
        b"\1\2\3",
        b"TAG\0" + b"\1" * 124,
        b"\r\n" * 8,
    ],
    ids=["chunk", "odd", "chunk and zeros", "cut chunk", "zeros", "few", "ID3v1", "line ends"],
)
def test_chunks_and_zeros_behind_the_samples_are_no_samples(tmp_path: Path, more: bytes) -> None:
    soundfile.write(tmp_path / "a.wav", WHOLE[0, :801], 16000, subtype="PCM_U8")
    data = (tmp_path / "a.wav").read_bytes()[: 44 + 801]
    assert warnings_of(data + more, tmp_path) == ([], [])


@pytest.mark.parametrize(
    ("name", "before", "size"),
    [("a.au", 8, b"\xff" * 4), ("a.w64", 96, bytes(8)), ("a.w64", 96, b"\xff" * 8)],
)
def test_a_size_that_is_not_known_yet_is_no_truncation(
    tmp_path: Path, name: str, before: int, size: bytes
) -> None:
    path = write_speech(tmp_path / name, 0.5)
    data = bytearray(path.read_bytes())
    data[before : before + len(size)] = size
    path.write_bytes(data)
    with AudioReader(path) as reader:
        sum(map(len, reader.blocks(999)))
    assert reader.warnings == []


def test_a_flac_that_begins_in_the_middle(tmp_path: Path) -> None:
    """What cuts a running stream into files leaves each frame its number."""
    with av.open(str(tmp_path / "a.flac"), "w") as container:
        stream: Any = container.add_stream("flac", rate=16000, layout="mono")
        samples = (np.round(speech_like(2.0, 16000) * 32767)).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate, frame.pts = 16000, 0
        sampler = av.AudioResampler("s16", "mono", 16000, stream.codec_context.frame_size or 4608)
        frames = [*sampler.resample(frame), *sampler.resample(None)]
        packets = [p for f in [*frames, None] for p in stream.encode(f)]
        container.mux(packets[1:])
    waveform, _ = read(tmp_path / "a.flac")
    length = waveform.shape[1]
    assert 25000 < length < 32000
    np.testing.assert_array_equal(np.round(waveform * 32768), samples[:, -length:])
    np.testing.assert_array_equal(excerpt(tmp_path / "a.flac", 5000, 99), waveform[:, 5000:5099])


def test_chunks_before_the_samples_stay(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with soundfile.SoundFile(str(path), "w", 16000, 1) as file:
        file.title = "A talk"
        file.write(WHOLE.T)
    path.write_bytes(with_sizes(path.read_bytes(), {b"data": bytes(4)}))
    with AudioReader(path) as reader:
        assert reader.tags == {"title": "A talk"}


def test_an_empty_wav_with_chunks_behind_it_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(0), 16000)
    data = path.read_bytes() + struct.pack("<4sI", b"note", 6) + b"nobody"
    path.write_bytes(data)
    with pytest.raises(InputError, match="holds no audio"):
        read(path)


def test_more_than_a_wav_holds_becomes_an_rf64() -> None:
    header = WavHeader([(b"fmt ", bytes(16)), (b"bext", b"x" * 7)], bytes(16), 0, is_known=False)
    size = 5 << 30
    data = header.bytes_for(size)
    assert data[:16] == b"RF64\xff\xff\xff\xffWAVEds64"
    assert struct.unpack("<QQ", data[20:36]) == (size + len(data) - 8, size)
    assert len(header.bytes_for(100)) == len(data) - 36


def test_whole_files_are_left_as_they_are(tmp_path: Path) -> None:
    for name in ("a.wav", "a.rf64", "a.caf", "a.flac"):
        with write_speech(tmp_path / name).open("rb") as file:
            assert corrected(file) is file


def test_a_header_of_empty_chunks_without_end_is_left_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unclosed_files, "MAX_HEADER", 100)
    stream = io.BytesIO(bytes(12) + 1000 * struct.pack("<4sI", b"none", 0))
    stream.seek(12)
    with pytest.raises(BrokenHeader, match="claims 104 bytes or more"):
        read_wav_header(stream)
    assert stream.tell() == 12 + 104
