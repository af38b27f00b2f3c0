"""A recording through a stream: outputs are as long as it is, appear together, and say what was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from kit.audio import write_speech
from kit.video import write_video

import audiotool
from audiotool.audio.reader import AudioReader, read
from audiotool.audio.target import Target
from audiotool.errors import InputError
from audiotool.files.features import MelAnalysis
from audiotool.files.processor import FileResult, Written
from audiotool.pipeline import Pipeline


@pytest.fixture(scope="module")
def denoiser() -> Pipeline:
    return audiotool.load("denoise-tiny-16k", engine="onnx")


def test_facts_of_a_file(denoiser: Pipeline, tmp_path: Path) -> None:
    source = write_speech(tmp_path / "a.flac", 0.4, 44100, 2)
    target, progress = tmp_path / "b.flac", list[tuple[int, int | None]]()
    result = denoiser.process_file(source, target, lambda done, total: progress.append((done, total)))
    assert (result.sample_rate, result.channels, result.seconds) == (44100, 2, 0.4)
    assert progress[-1] == (17640, 17640)
    output, rate = soundfile.read(target)
    assert (output.shape, rate) == ((17640, 2), 44100)
    assert result.peak == pytest.approx(np.abs(output).max(), abs=1e-4)
    assert result.input_peak == pytest.approx(np.abs(soundfile.read(source)[0]).max(), abs=1e-4)
    assert result.limited == 0


def test_progress_has_a_total_where_the_length_is_not_exact(denoiser: Pipeline, tmp_path: Path) -> None:
    denoiser.process_file(write_speech(tmp_path / "a.wav", 2.0, 48000), tmp_path / "a.mkv")
    totals: list[int | None] = []
    for processor, name in ((denoiser, "b.wav"), (MelAnalysis("hifigan-22k"), "b.npy")):
        processor.process_file(tmp_path / "a.mkv", tmp_path / name, lambda _, total: totals.append(total))
    with AudioReader(tmp_path / "a.mkv") as reader:
        assert set(totals) == {reader.expected_frames}
    assert totals[0] == pytest.approx(96000, rel=0.05)


@pytest.mark.parametrize(("frames", "notes"), [(8000, 1), (1017 * 8, 0)])
def test_silence_that_fills_a_block_is_noted(
    denoiser: Pipeline, tmp_path: Path, frames: int, notes: int
) -> None:
    source = write_speech(tmp_path / "in.wav", frames / 16000)
    target = Target((tmp_path / "out.wav",), subtype="IMA_ADPCM")
    result = denoiser.process_file(source, target)
    assert soundfile.info(tmp_path / "out.wav").frames == 1017 * 8
    note = "IMA_ADPCM holds whole blocks: 136 samples of silence were added at the end"
    assert list(result.warnings) == [note] * notes


@pytest.mark.parametrize(("name", "written"), [("out.opus", "OPUS"), ("out.webm", "OPUS"), ("out.m4a", None)])
def test_a_rate_that_the_coding_has_not_is_noted(
    denoiser: Pipeline, tmp_path: Path, name: str, written: str | None
) -> None:
    result = denoiser.process_file(write_speech(tmp_path / "in.wav", 0.4, 44100), tmp_path / name)
    note = f"{written} has no 44100 Hz: the output is resampled to 48000 Hz"
    assert list(result.warnings) == ([] if written is None else [note])
    found, rate = read(tmp_path / name)
    assert rate == (44100 if written is None else 48000)
    assert written is None or name == "out.webm" or found.shape == (1, 19200)


@pytest.mark.parametrize(("name", "noted"), [("out.wav", True), ("out.mp3", False), ("out.flac", False)])
def test_mp3_in_a_wav_that_becomes_pcm_is_noted(
    denoiser: Pipeline, tmp_path: Path, name: str, noted: bool
) -> None:
    with av.open(str(tmp_path / "in.wav"), "w") as container:
        sound: Any = container.add_stream("libmp3lame", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 16000, 0
        container.mux(sound.encode(frame) + sound.encode(None))
    assert soundfile.info(tmp_path / "in.wav").subtype == "MPEG_LAYER_III"
    note = "MPEG_LAYER_III in WAV is only read: PCM_16 is written"
    result = denoiser.process_file(tmp_path / "in.wav", tmp_path / name)
    assert (note in result.warnings) == noted


@pytest.mark.parametrize(("name", "kept"), [("in.mkv", "mkv"), ("in.webm", "webm"), ("in.avi", "mkv")])
def test_a_video_that_loses_its_pictures_is_noted(
    denoiser: Pipeline, tmp_path: Path, name: str, kept: str
) -> None:
    video = write_video(tmp_path / name)
    named = f"--format {kept}, or an output named .{kept}"
    lost = f"the sound alone is written: {named}, keeps the picture"
    assert lost in denoiser.process_file(video, tmp_path / "out.wav").warnings
    asked = denoiser.process_file(video, Target((tmp_path / "asked.wav",), format="wav"))
    shown = denoiser.process_file(video, tmp_path / f"out.{kept}")
    sound = denoiser.process_file(tmp_path / "out.wav", tmp_path / "again.wav")
    assert not [text for each in (asked, shown, sound) for text in each.warnings if "picture" in text]


def test_the_residual_is_input_minus_output(denoiser: Pipeline, tmp_path: Path) -> None:
    source = write_speech(tmp_path / "a.wav", 0.3, subtype="FLOAT")
    denoiser.process_file(source, Target((tmp_path / "b.wav",), tmp_path / "rest.wav"))
    both = soundfile.read(tmp_path / "b.wav")[0] + soundfile.read(tmp_path / "rest.wav")[0]
    np.testing.assert_allclose(both, soundfile.read(source)[0], atol=1e-6)


def test_remarks_name_the_output_that_they_are_of(denoiser: Pipeline, tmp_path: Path) -> None:
    noise = 20 * np.random.default_rng(0).standard_normal(8000)
    audiotool.write(tmp_path / "a.wav", noise, 16000, subtype="FLOAT")
    target = Target((tmp_path / "b.mp3",), tmp_path / "rest.mka")
    result = denoiser.process_file(tmp_path / "a.wav", target)
    output, rest = result.outputs
    assert 1 < output.peak < rest.peak
    assert list(result.warnings) == [
        "AAC holds whole blocks: 192 samples of silence were added at the end",
        f"the peak, {output.peak:.3f}, is beyond full scale: MP3 keeps it, but most players limit it",
    ]


def test_nothing_is_left_of_a_file_that_fails(denoiser: Pipeline, tmp_path: Path) -> None:
    source = write_speech(tmp_path / "a.wav", 0.3)
    with pytest.raises(InputError, match="name as many"):
        denoiser.process_file(source, Target((tmp_path / "b.wav", tmp_path / "c.wav")))
    with pytest.raises(InputError):
        denoiser.process_file(source, Target((tmp_path / "b.wav",), source / "rest.wav"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav"]


@pytest.mark.parametrize("name", ["b.wav", "in/../b.wav", "link.wav", "B.wav"])
def test_two_outputs_of_one_name_are_refused(
    denoiser: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Of one name in any spelling; `B.wav` where the file system does not tell it from `b.wav`."""
    source = write_speech(tmp_path / "in" / "a.wav", 0.1)
    (tmp_path / "link.wav").symlink_to(tmp_path / "b.wav")
    monkeypatch.setattr("os.path.lexists", lambda path: True)
    with pytest.raises(InputError, match=r"outputs of one name: .*; give each a name of its own"):
        denoiser.process_file(source, Target((tmp_path / "b.wav",), f"{tmp_path}/{name}"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "link.wav"]


@pytest.mark.parametrize("name", ["a.wav", "in/../a.wav", "link.wav"])
@pytest.mark.parametrize("kind", ["output", "residual"])
def test_an_output_that_is_the_input_is_refused(
    denoiser: Pipeline, tmp_path: Path, name: str, kind: str
) -> None:
    source = write_speech(tmp_path / "a.wav", 0.1)
    (tmp_path / "in").mkdir()
    (tmp_path / "link.wav").symlink_to(source)
    before, place = source.read_bytes(), f"{tmp_path}/{name}"
    target = Target((place,)) if kind == "output" else Target((tmp_path / "b.wav",), place)
    with pytest.raises(InputError, match=r"an output would replace its own input: .*; give it another name"):
        denoiser.process_file(source, target)
    assert source.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav", "in", "link.wav"]


def test_names_of_outputs_may_differ_in_case_where_the_file_system_tells_them_apart(
    denoiser: Pipeline, tmp_path: Path
) -> None:
    source = write_speech(tmp_path / "a.wav", 0.1)
    (tmp_path / "TRY").touch()
    if (tmp_path / "try").exists():
        pytest.skip("this file system does not")
    denoiser.process_file(source, Target((tmp_path / "b.wav",), tmp_path / "B.wav"))
    assert {path.name for path in tmp_path.iterdir()} == {"TRY", "a.wav", "b.wav", "B.wav"}


def test_standard_output_takes_one_output(denoiser: Pipeline, tmp_path: Path) -> None:
    source = write_speech(tmp_path / "a.wav", 0.1)
    with pytest.raises(InputError, match="outputs of one name: - and -"):
        denoiser.process_file(source, Target(("-",), "-"))


def test_outputs_together() -> None:
    outputs = (Written(0.5, 0), Written(1.0, 7))
    result = FileResult(16000, 1, 2.0, 0.5, outputs)
    assert (result.peak, result.limited, result.real_time_factor) == (1.0, 7, 4.0)


def test_a_mel_does_not_replace_its_recording(tmp_path: Path) -> None:
    source = write_speech(tmp_path / "a.wav", 0.5, 22050)
    (tmp_path / "mel.npy").symlink_to(source)
    with pytest.raises(InputError, match=r"an output would replace its own input: .*mel\.npy"):
        MelAnalysis("hifigan-22k").process_file(source, tmp_path / "mel.npy")
    assert audiotool.read(source)[0].shape == (1, 11025)


def test_a_mel_is_written(tmp_path: Path) -> None:
    source = write_speech(tmp_path / "a.wav", 0.5, 22050)
    analysis = MelAnalysis("hifigan-22k")
    result = analysis.process_file(source, tmp_path / "mel.npy")
    assert result.seconds == 0.5
    mel = np.load(tmp_path / "mel.npy")
    assert mel.shape[0] == 80
    assert mel.shape[1] >= 0.5 * 22050 // 256
    assert np.isfinite(mel).all()
