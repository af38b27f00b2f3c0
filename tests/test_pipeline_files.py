"""`Pipeline.process_file`: a file keeps its form and its tags, and a failure leaves what was there."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from kit.audio import speech_like, write_speech

import audiotool
from audiotool.audio.file_writer import FileWriter
from audiotool.audio.target import Target
from audiotool.errors import InputError


@pytest.mark.parametrize(
    ("name", "subtype", "rate", "channels"),
    [
        ("a.wav", "PCM_16", 8000, 1),
        ("a.wav", "PCM_24", 96000, 2),
        ("a.wav", "PCM_U8", 22050, 1),
        ("a.wav", "FLOAT", 48000, 6),
        ("a.wav", "PCM_16", 16000, 32),
        ("a.flac", "PCM_16", 44100, 1),
        ("a.ogg", "VORBIS", 16000, 1),
        ("a.aiff", "PCM_16", 192000, 1),
    ],
)
def test_files_keep_their_form(
    pipeline: audiotool.Pipeline, tmp_path: Path, name: str, subtype: str, rate: int, channels: int
) -> None:
    source = write_speech(tmp_path / name, 0.25, rate, channels, subtype=subtype)
    out = tmp_path / "out" / name
    pipeline.process_file(source, out)
    before, after = soundfile.info(str(source)), soundfile.info(str(out))
    for field in ("samplerate", "channels", "frames", "subtype", "format"):
        assert getattr(before, field) == getattr(after, field)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
def test_files_keep_their_tags(pipeline: audiotool.Pipeline, tmp_path: Path, name: str) -> None:
    with soundfile.SoundFile(str(tmp_path / name), "w", 16000, 1) as file:
        file.title, file.artist, file.date, file.software = "Folge 1", "Zoe", "2020", "Recorder"
        file.write(speech_like(0.2, 16000)[0])
    pipeline.process_file(tmp_path / name, tmp_path / f"out-{name}")
    with soundfile.SoundFile(str(tmp_path / f"out-{name}")) as file:
        assert (file.title, file.artist, file.date) == ("Folge 1", "Zoe", "2020")
        assert "Recorder" not in file.software
    # AU holds no tags, which is no reason to fail, and is said.
    result = pipeline.process_file(tmp_path / name, tmp_path / "out.au")
    assert any("title" in warning for warning in result.warnings)
    assert soundfile.info(str(tmp_path / "out.au")).frames > 0


def test_tags_beyond_ascii(pipeline: audiotool.Pipeline, tmp_path: Path) -> None:
    with soundfile.SoundFile(str(tmp_path / "a.flac"), "w", 16000, 1) as file:
        file.title, file.artist = "Öl", "Zoe"
        file.write(speech_like(0.2, 16000)[0])
    for name, title in (("b.flac", "Öl"), ("b.wav", "Öl"), ("b.mp3", "Öl"), ("b.aiff", "Öl")):
        pipeline.process_file(tmp_path / "a.flac", tmp_path / name)
        with soundfile.SoundFile(str(tmp_path / name)) as file:
            assert (file.title, file.artist) == (title, "Zoe")


def test_one_sample_and_silence(pipeline: audiotool.Pipeline, tmp_path: Path) -> None:
    for name, x in (("one", np.full(1, 0.25)), ("silence", np.zeros(5000))):
        audiotool.write(tmp_path / f"{name}.wav", x, 16000)
        pipeline.process_file(tmp_path / f"{name}.wav", tmp_path / "out.wav")
        y, _ = audiotool.read(tmp_path / "out.wav")
        assert y.shape == (1, len(x))
    assert np.abs(y).max() < 1e-2


def test_residual_is_input_minus_output(pipeline: audiotool.Pipeline, tmp_path: Path) -> None:
    source = write_speech(tmp_path / "a.wav", 0.5, 44100, 2, subtype="FLOAT")
    pipeline.process_file(source, Target((tmp_path / "out.wav",), residual=tmp_path / "rest.wav"))
    x, out, rest = (audiotool.read(tmp_path / n)[0] for n in ("a.wav", "out.wav", "rest.wav"))
    np.testing.assert_allclose(out + rest, x, atol=1e-6)


def test_several_outputs_appear_together(
    pipeline: audiotool.Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second output cannot be completed: the first one's earlier file is not replaced either."""
    source = write_speech(tmp_path / "a.wav", 0.5)
    out, rest = write_speech(tmp_path / "out.wav", 0.1), tmp_path / "rest.wav"
    before, complete = out.read_bytes(), FileWriter.prepare

    def prepare(writer: FileWriter) -> None:
        if writer.path == rest:
            raise InputError("the disk is full")
        complete(writer)

    monkeypatch.setattr(FileWriter, "prepare", prepare)
    with pytest.raises(InputError, match="disk is full"):
        pipeline.process_file(source, Target((out,), residual=rest))
    assert out.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.wav", "out.wav"]


def test_a_pipe_in_the_file_system_is_read_once(pipeline: audiotool.Pipeline, tmp_path: Path) -> None:
    source, pipe = write_speech(tmp_path / "a.wav", 0.5), tmp_path / "pipe"
    os.mkfifo(pipe)
    sender = threading.Thread(target=lambda: pipe.write_bytes(source.read_bytes()))
    sender.start()
    pipeline.process_file(pipe, tmp_path / "piped.wav")
    sender.join()
    pipeline.process_file(source, tmp_path / "whole.wav")
    piped, whole = (audiotool.read(tmp_path / n)[0] for n in ("piped.wav", "whole.wav"))
    np.testing.assert_allclose(piped, whole, atol=1e-4)


def test_an_answer_that_is_not_finite_is_an_error(pipeline: audiotool.Pipeline, tmp_path: Path) -> None:
    x = speech_like(1, 16000)
    x[0, 8000] = 1e30
    soundfile.write(str(tmp_path / "a.wav"), x.T, 16000, subtype="FLOAT")
    with pytest.raises(InputError, match="beyond full scale"):
        pipeline.process_file(tmp_path / "a.wav", tmp_path / "b.wav")
    with pytest.raises(InputError, match="beyond full scale"):
        pipeline(x, 16000)
    assert not (tmp_path / "b.wav").exists()


def test_a_failure_in_the_middle_leaves_the_earlier_output(
    pipeline: audiotool.Pipeline, tmp_path: Path
) -> None:
    x = speech_like(25, 16000)
    x[0, -5] = np.nan
    soundfile.write(str(tmp_path / "in.wav"), x.T, 16000, subtype="FLOAT")
    before = write_speech(tmp_path / "out.wav").read_bytes()
    seen: list[tuple[int, int | None]] = []
    with pytest.raises(InputError, match="nan at sample 399995"):
        pipeline.process_file(tmp_path / "in.wav", tmp_path / "out.wav", lambda *s: seen.append(s))
    assert seen == [(160000, 400000), (320000, 400000)]
    assert (tmp_path / "out.wav").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.wav", "out.wav"]


def test_open_files_are_not_processed(pipeline: audiotool.Pipeline, tmp_path: Path) -> None:
    path = write_speech(tmp_path / "a.wav", 0.1)
    places: list[tuple[Any, Any]] = [(io.BytesIO(), tmp_path / "b.wav"), (path, io.BytesIO()), (path, "")]
    for source, target in places:
        with pytest.raises(InputError, match="a path is"):
            pipeline.process_file(source, target)
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]


@pytest.mark.parametrize(
    ("place", "message"),
    [("s3://bucket/b.wav", "s3://bucket/b.wav is a URL"), ("b\0.wav", "no file can be named"), ("", "empty")],
)
def test_outputs_are_local_files(
    pipeline: audiotool.Pipeline,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_speech(tmp_path / "a.wav", 0.1)
    for target in (place, Target((place,)), Target(("b.wav",), place)):
        with pytest.raises(InputError, match=message):
            pipeline.process_file(path, target)
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]


def test_as_many_outputs_as_stems_are_asked_for(pipeline: audiotool.Pipeline, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="1 outputs"):
        pipeline.process_file(tmp_path / "a.wav", Target(("b.wav", "c.wav")))
