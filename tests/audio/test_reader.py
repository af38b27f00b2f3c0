"""Reading: every format libsndfile knows, and every way a file can be broken."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kit.audio import speech_like, write_speech

from audiotool.audio.file_writer import FileWriter
from audiotool.audio.pipe_writer import wav_header
from audiotool.audio.raw import ENCODINGS, Raw
from audiotool.audio.reader import AudioReader, probe, read
from audiotool.audio.writer import OutputFormat
from audiotool.errors import InputError

LOSSLESS = [
    ("a.wav", "PCM_U8"),
    ("a.wav", "PCM_16"),
    ("a.wav", "PCM_24"),
    ("a.wav", "PCM_32"),
    ("a.wav", "FLOAT"),
    ("a.wav", "DOUBLE"),
    ("a.flac", "PCM_16"),
    ("a.flac", "PCM_24"),
    ("a.aiff", "PCM_16"),
    ("a.w64", "PCM_16"),
    ("a.rf64", "PCM_24"),
]


@pytest.mark.parametrize(("name", "subtype"), LOSSLESS)
@pytest.mark.parametrize("channels", [1, 2, 32])
def test_lossless_formats(tmp_path: Path, name: str, subtype: str, channels: int) -> None:
    if name == "a.flac" and channels > 8:
        pytest.skip("FLAC holds 8 channels at most")
    path = write_speech(tmp_path / name, 0.1, 44100, channels, subtype=subtype)
    info = probe(path)
    assert (info.sample_rate, info.channels, info.frames, info.subtype) == (44100, channels, 4410, subtype)
    waveform, rate = read(path)
    step = {"PCM_U8": 1 / 64}.get(subtype, 1e-4)
    np.testing.assert_allclose(waveform, speech_like(0.1, 44100, channels), atol=step)
    assert rate == 44100


@pytest.mark.parametrize("name", ["a.ogg", "a.mp3", "a.opus"])
def test_lossy_formats(tmp_path: Path, name: str) -> None:
    form = {"format": "OGG", "subtype": "OPUS"} if name == "a.opus" else {}
    path = write_speech(tmp_path / name, 1.0, 48000, 2, **form)
    waveform, rate = read(path)
    expected = speech_like(1.0, 48000, 2)
    assert rate == 48000
    assert abs(waveform.shape[1] - expected.shape[1]) <= 2304
    n = min(waveform.shape[1], expected.shape[1])
    assert np.corrcoef(waveform[0, :n], expected[0, :n])[0, 1] > 0.95


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(length=st.integers(1, 5000), size=st.integers(1, 6000), channels=st.integers(1, 3))
def test_blocks_join_to_the_whole(tmp_path: Path, length: int, size: int, channels: int) -> None:
    x = np.random.default_rng(length).uniform(-1, 1, (length, channels)).astype(np.float32)
    path = tmp_path / "a.wav"
    soundfile.write(str(path), x, 8000, subtype="FLOAT")
    with AudioReader(path) as reader:
        blocks = list(reader.blocks(size))
    assert all(len(b) <= size for b in blocks)
    np.testing.assert_array_equal(np.concatenate(blocks), x)


def broken(tmp_path: Path, kind: str) -> Path:
    """A file that cannot be read, of one kind or another."""
    path = tmp_path / "broken.wav"
    whole = write_speech(tmp_path / "whole.wav", 0.5).read_bytes()
    x = speech_like(0.5, 16000).T.copy()
    if kind == "missing":
        pass
    elif kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "header only":
        path.write_bytes(whole[:44])
    elif kind == "half a header":
        path.write_bytes(whole[:30])
    elif kind == "no audio":
        path.write_bytes(b"This is a letter to a friend. " * 99)
    elif kind == "no channels":
        path.write_bytes(whole[:22] + b"\0\0" + whole[24:])
    elif kind in ("NaN", "infinity"):
        x[1234] = np.nan if kind == "NaN" else -np.inf
        soundfile.write(str(path), x, 16000, subtype="FLOAT")
    elif kind == "half a FLAC":
        full = write_speech(tmp_path / "a.flac", 2.0).read_bytes()
        path.write_bytes(full[: len(full) // 2])
    elif kind == "headerless":
        path = tmp_path / "broken.raw"
        path.write_bytes(whole[44:])
    elif kind == "of PyTorch":
        path = tmp_path / "broken.pt"
        path.write_bytes(b"PK\x03\x04" + bytes(100))
    return path


BROKEN = {
    "missing": "no such file",
    "folder": "is a folder",
    "empty": "is empty",
    "header only": "holds no audio",
    "half a header": "cannot be read as audio",
    "no audio": "cannot be read as audio",
    "no channels": "cannot be read as audio",
    "NaN": r"nan at sample 1234 \(0.077 s\) of channel 1",
    "infinity": "-inf at sample 1234",
    "half a FLAC": "damaged after",
    "headerless": "cannot be read as audio",
    "of PyTorch": r"--checkpoint; a mel spectrogram is read from \.npy",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_files_are_named(tmp_path: Path, kind: str) -> None:
    with pytest.raises(InputError, match=BROKEN[kind]) as caught:
        read(broken(tmp_path, kind))
    assert "broken" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_name_that_is_not_utf_8_is_explained(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such file or folder.* is not UTF-8: is the list or manifest"):
        read(tmp_path / os.fsdecode(b"caf\xe9.wav"))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_unreadable_file_is_refused(tmp_path: Path) -> None:
    path = write_speech(tmp_path / "a.wav")
    path.chmod(0)
    with pytest.raises(InputError, match="no permission"):
        read(path)


def test_unreadable_file_is_refused_by_its_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_speech(tmp_path / "a.wav")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InputError, match="no permission"):
        read(path)


TRUNCATED = ["wav", "aiff", "mp3", "rf64", "w64", "caf", "au", "nist", "voc", "ogg"]


@pytest.mark.parametrize("name", [f"a.{ending}" for ending in TRUNCATED])
def test_truncated_files_are_read_as_far_as_they_go_with_a_warning(tmp_path: Path, name: str) -> None:
    whole = write_speech(tmp_path / name, 4.0)
    half = tmp_path / f"half{whole.suffix}"
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with AudioReader(half) as reader:
        frames = sum(len(b) for b in reader.blocks(1000))
    # An Ogg is cut at the end of a page, of about a second.
    low, high = (0.2, 0.75) if name == "a.ogg" else (0.35, 0.6)
    assert low * 64000 < frames < high * 64000
    assert len(reader.warnings) == 1
    assert "truncated" in reader.warnings[0]
    with AudioReader(whole) as reader:
        assert sum(len(b) for b in reader.blocks(1000)) >= 64000
    assert reader.warnings == []


@pytest.mark.parametrize("count", [0, 1 << 31, 5 << 30])
def test_a_cut_rf64_is_known_by_its_bytes_whatever_its_number_of_samples(tmp_path: Path, count: int) -> None:
    data = bytearray(write_speech(tmp_path / "a.rf64", 4.0).read_bytes())
    data[36:44] = count.to_bytes(8, "little")
    path = tmp_path / "half.rf64"
    path.write_bytes(data)
    with AudioReader(path) as reader:
        assert reader.info.frames == 64000
    assert not reader.warnings
    path.write_bytes(data[: len(data) // 2])
    with AudioReader(path) as reader:
        assert sum(len(b) for b in reader.blocks(5000)) == reader.info.frames
    assert [warning.split(": ")[1] for warning in reader.warnings] == [
        "2.00 s of 4.00 s are there, and only they are processed"
    ]


def test_a_long_rf64_that_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    samples = 5 << 31
    sizes = struct.pack("<4sIQQQI", b"ds64", 28, samples + 72, samples, samples // 2, 0)
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 192000, 384000, 2, 16)
    head = b"RF64\xff\xff\xff\xffWAVE" + sizes + form + b"data\xff\xff\xff\xff"
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + samples // 2)
    with AudioReader(path) as reader:
        assert reader.info.frames == samples // 4
    assert "is truncated: 13981.01 s of 27962.03 s are there" in reader.warnings[0]


def test_a_whole_file_is_read_with_a_word_on_what_is_missing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_speech(tmp_path / "a.wav", 4.0)
    read(path)
    assert not caplog.text
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    read(path)
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert f"{path} is truncated: 2.00 s of 4.00 s are there" in record.message


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.ogg"])
def test_open_files_are_read_from_their_position(tmp_path: Path, name: str) -> None:
    path = write_speech(tmp_path / name, 0.5)
    expected = read(path)
    memory = io.BytesIO(b"before" + path.read_bytes())
    memory.seek(6)
    with path.open("rb") as file:
        for source in (memory, file):
            found = read(source)
            np.testing.assert_array_equal(found[0], expected[0])
            assert (found[1], source.closed) == (16000, False)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "a path is a str or a Path, got NoneType"),
        (b"a.wav", "a path is a str or a Path, got bytes"),
        (0, "a path is a str or a Path, got int"),
        ("", "a path is empty"),
        ("http://localhost:1/a.wav", "http://localhost:1/a.wav is a URL, and functions read and write local"),
        ("a\0b.wav", r"no file can be named 'a\x00b.wav'"),
        (io.StringIO("RIFF"), "open it with the mode 'rb'"),
        (io.BytesIO(), "the open file is empty from its position on"),
        (io.BytesIO(b"RIFF"), "the open file cannot be read as audio"),
    ],
)
def test_what_is_no_file_is_refused(source: Any, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        read(source)


def test_open_files_that_give_no_bytes_are_refused(tmp_path: Path) -> None:
    path = write_speech(tmp_path / "a.wav", 0.5)
    with path.open("rb") as closed:
        pass
    with path.open(encoding="utf-8") as text, (tmp_path / "b.wav").open("wb") as written:
        for source, message in (
            (text, "open it with the mode 'rb'"),
            (closed, "the open file cannot be read: read of closed file"),
            (written, "the open file cannot be read: it is open for writing"),
        ):
            with pytest.raises(InputError, match=message):
                read(source)  # type: ignore[arg-type]


class LocalPath(os.PathLike[str]):
    """A path as of the package py, which has methods of files."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return str(self.path)

    def read(self, mode: str = "r") -> Any:
        return self.path.open(mode).read()


def test_a_path_is_one_whatever_methods_it_has(tmp_path: Path) -> None:
    path = write_speech(tmp_path / "a.wav", 0.5)
    np.testing.assert_array_equal(read(LocalPath(path))[0], read(path)[0])


def damaged(path: Path, at: float) -> Path:
    """A file with 50 other bytes at this share of its length."""
    data = bytearray(path.read_bytes())
    begin = int(len(data) * at)
    data[begin : begin + 50] = np.random.default_rng(1).bytes(50)
    path.write_bytes(data)
    return path


def test_damage_is_named_where_it_is(tmp_path: Path) -> None:
    whole = write_speech(tmp_path / "a.flac", 4.0)
    for size in (64000, 1000):
        with pytest.raises(InputError, match=r"a.flac is damaged after (2\.[5-9]|3\.[01])"):
            list(AudioReader(damaged(whole, 0.75)).blocks(size))


@pytest.mark.parametrize(("seconds", "words"), [(0.5, "none of its samples"), (2.0, r"1\.04 s of 2\.00 s")])
def test_a_damaged_ogg_is_called_so(tmp_path: Path, seconds: float, words: str) -> None:
    path = damaged(write_speech(tmp_path / "a.ogg", seconds), 0.75)
    message = ""
    with AudioReader(path) as reader:
        try:
            frames = sum(len(block) for block in reader.blocks(64000))
        except InputError as error:
            message = str(error)
        else:
            assert frames == 16640
            [message] = reader.warnings
    assert re.search(f"a.ogg is damaged: {words}", message)


def test_wrong_ending_is_read_by_its_content(tmp_path: Path) -> None:
    path = write_speech(tmp_path / "a.flac")
    renamed = path.rename(tmp_path / "a.wav")
    assert probe(renamed).format == "FLAC"
    np.testing.assert_allclose(read(renamed)[0], speech_like(0.5, 16000), atol=1e-4)


@pytest.mark.parametrize(
    ("container", "subtype"),
    [
        ("WAV", "PCM_16"),
        ("RF64", "FLOAT"),
        ("W64", "PCM_24"),
        ("AIFF", "PCM_16"),
        ("CAF", "PCM_16"),
        ("AU", "ULAW"),
    ],
)
def test_a_damaged_header_prints_nothing(
    container: str, subtype: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each byte of a header, one after the other, as its least and its greatest value."""
    path = tmp_path / "a.wav"
    soundfile.write(str(path), speech_like(0.05, 16000)[0], 16000, subtype, format=container)
    data = path.read_bytes()
    for at in range(min(len(data), 160)):
        for value in (0, 255):
            path.write_bytes(data[:at] + bytes([value]) + data[at + 1 :])
            with contextlib.suppress(InputError):
                read(path)
    assert capfd.readouterr() == ("", "")


class Trickle(io.RawIOBase):
    """A pipe that gives a few bytes at a time and cannot seek."""

    def __init__(self, data: bytes, seed: int = 0) -> None:
        self._data = io.BytesIO(data)
        self._rng = np.random.default_rng(seed)

    def isatty(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def read(self, size: int = -1) -> bytes:
        return self._data.read(min(size, int(self._rng.integers(1, 3000))))

    def seek(self, *_: int) -> int:
        raise io.UnsupportedOperation("seek")


@pytest.mark.parametrize("declared", ["right", 0, 0xFFFFFFFF, 0x7FFFF000, 0x7FFFFFFF, 0xFFFFFFFF - 36])
@pytest.mark.parametrize(("subtype", "channels"), [("PCM_16", 1), ("PCM_24", 2), ("FLOAT", 3), ("PCM_U8", 1)])
def test_wav_from_a_pipe(declared: str | int, subtype: str, channels: int) -> None:
    x = speech_like(0.6, 16000, channels)
    data, _ = Raw(ENCODINGS[subtype], 16000, channels).encode(x.T)
    header = wav_header(16000, channels, subtype, x.shape[1] if declared == "right" else None)
    if declared != "right":
        header = header[:-4] + int(declared).to_bytes(4, "little")
    trailing = b"LIST\4\0\0\0abcd" if declared == "right" else b""
    with AudioReader("-", stdin=Trickle(header + data + trailing)) as reader:  # type: ignore[arg-type]
        y = np.concatenate(list(reader.blocks(999)))
    assert reader.info.frames == (x.shape[1] if declared == "right" else None)
    assert (reader.info.format, reader.info.subtype) == ("WAV", subtype)
    assert reader.warnings == []
    np.testing.assert_allclose(y, x.T, atol=1 / 64 if subtype == "PCM_U8" else 1e-4)
    assert len(y) == x.shape[1]


@pytest.mark.parametrize("name", ["a.flac", "a.ogg", "a.aiff"])
def test_other_formats_from_a_pipe(tmp_path: Path, name: str) -> None:
    data = write_speech(tmp_path / name).read_bytes()
    with AudioReader("-", stdin=Trickle(data)) as reader:  # type: ignore[arg-type]
        y = np.concatenate(list(reader.blocks(1000)))
    assert np.corrcoef(y[:, 0], speech_like(0.5, 16000)[0])[0, 1] > 0.95


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "standard input is empty"),
        (wav_header(16000, 1, "PCM_16", None), "holds no audio"),
        (wav_header(16000, 1, "PCM_16", None)[:38], "header ends before its data"),
        (b"RIFF\0\0\0\0WAVEdata\0\0\0\0", "no format chunk"),
        (b"RIFF\0\0\0\0WAVEjunk\xff\xff\xff\xff", "not a WAV stream"),
        (b"hello, is this audio?" * 50, "cannot be read as audio"),
    ],
)
def test_broken_pipes_are_reported(data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message), AudioReader("-", stdin=Trickle(data)) as reader:  # type: ignore[arg-type]
        list(reader.blocks(100))


@pytest.mark.parametrize("ending", [".npy", ".npz", ".safetensors"])
def test_arrays_from_a_pipe_are_named(ending: str) -> None:
    mel, memory = np.zeros((80, 100), np.float32), io.BytesIO()
    if ending == ".safetensors":
        memory.write(safetensors.numpy.save({"mel": mel}))
    else:
        (np.save if ending == ".npy" else np.savez)(memory, mel)
    memory.seek(0)
    with pytest.raises(InputError, match=rf"arrays \({ending}\), not audio; a mel comes from a file"):
        AudioReader("-", stdin=memory)


def test_a_pipe_that_ends_early_is_reported(tmp_path: Path) -> None:
    data = write_speech(tmp_path / "a.wav").read_bytes()
    with AudioReader("-", stdin=Trickle(data[: len(data) // 2])) as reader:  # type: ignore[arg-type]
        frames = sum(len(b) for b in reader.blocks(1000))
    assert frames == (len(data) // 2 - 44) // 2
    assert "truncated" in reader.warnings[0]


def test_a_terminal_is_no_input() -> None:
    class Terminal(Trickle):
        def isatty(self) -> bool:
            return True

    with pytest.raises(InputError, match="terminal"):
        AudioReader("-", stdin=Terminal(b""))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "encoding"), [("call 1.ulaw", "mulaw"), ("a.AL", "alaw"), ("b.pcm", "s16le"), ("c.raw", "s16le")]
)
def test_bare_samples_say_how_they_are_read(tmp_path: Path, name: str, encoding: str) -> None:
    path = tmp_path / name
    path.write_bytes(bytes(range(1, 200)) * 30)
    with pytest.raises(InputError) as caught:
        AudioReader(path)
    assert f"`{shlex.quote(str(path))} --raw {encoding} --raw-rate 8000`" in str(caught.value)
    with pytest.raises(InputError, match=r"format and rate: `- --raw mulaw --raw-rate 8000`"):
        AudioReader("-", io.BytesIO(path.read_bytes()))


@pytest.mark.parametrize("name", ["a.alaw", "b.raw", "c.pcm", "d.ulaw"])
def test_headers_and_endings_know_better_than_an_option_for_a_folder(tmp_path: Path, name: str) -> None:
    encoding = {".alaw": "alaw"}.get(Path(name).suffix, "mulaw")
    data = Raw(encoding, 8000).encode(speech_like(0.2, 8000).T)[0]
    path = tmp_path / name
    path.write_bytes(data)
    with AudioReader(path, raw=Raw("mulaw", 8000)) as reader:
        found = np.concatenate(list(reader.blocks(500)))
    np.testing.assert_array_equal(found, Raw(encoding, 8000).decode(data))
    expected = [f"{path} is read as alaw, as its name says; a pipe is read as mulaw: `- < FILE`"]
    assert reader.warnings == (expected if encoding == "alaw" else [])


@pytest.mark.parametrize("name", ["a.wav", "a.rf64", "a.aiff", "a.au", "a.caf", "a.flac", "a.ogg"])
def test_a_file_with_a_header_is_not_bare_whatever_its_name(tmp_path: Path, name: str) -> None:
    path = write_speech(tmp_path / name, 0.5).rename(tmp_path / "a.pcm")
    with AudioReader(path, raw=Raw("mulaw", 8000)) as reader:
        assert (reader.info.sample_rate, sum(map(len, reader.blocks(500)))) == (16000, 8000)
    [warning] = reader.warnings
    assert "is a file with a header" in warning


@pytest.mark.parametrize(("ending", "subtype"), [(".sph", "ULAW"), (".sph", "PCM_16"), (".voc", "ALAW")])
def test_corpus_formats_are_written_and_read(tmp_path: Path, ending: str, subtype: str) -> None:
    sound = speech_like(0.5, 8000, 2).T.astype(np.float32) * 0.5
    with FileWriter(tmp_path / f"a{ending}", OutputFormat(8000, 2, subtype, frames=len(sound))) as writer:
        writer.write(sound)
    with AudioReader(tmp_path / f"a{ending}") as reader:
        assert (reader.info.sample_rate, reader.info.channels, reader.info.subtype) == (8000, 2, subtype)
        found = np.concatenate(list(reader.blocks(1000)))
    assert found.shape == sound.shape
    np.testing.assert_allclose(found, sound, atol=0.05)
